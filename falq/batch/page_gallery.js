"use strict";

// Shows the items as a grid of equal tiles, of which only those near the window exist.
//
// Owns where a tile stands, which tiles are in the document and which one the
// keyboard is on. It never decides which items there are or in what order:
// `page.js` hands it the list, and hears through `onOpen` which one was chosen.

const TILE_GAP = 14;
// Half a screen more than is seen, so that a flick of the wheel finds tiles drawn.
const MARGIN_SCREENS = 0.5;
// A print shows no more than this: 5,000 tiles are 400 sheets.
const PRINTED_TILES = 300;
const LONGEST_EXCERPT = 240;

function createGallery(grid, { onOpen }) {
  const tiles = new Map();
  let items = [];
  let columns = 1;
  let tileWidth = 0;
  let tileHeight = 0;
  let active = 0;
  let isPrinting = false;

  function measure() {
    const width = grid.clientWidth;
    const smallest = width < 520 ? 148 : 224;
    columns = Math.max(1, Math.floor((width + TILE_GAP) / (smallest + TILE_GAP)));
    tileWidth = (width - TILE_GAP * (columns - 1)) / columns;
    // In the style it is in rem: the words take whole lines and grow with the reader's font.
    const captionRem = parseFloat(getComputedStyle(grid).getPropertyValue("--caption"));
    const captionHeight = captionRem * parseFloat(getComputedStyle(document.documentElement).fontSize);
    tileHeight = Math.round(tileWidth * 0.75 + captionHeight);
    const rows = Math.ceil(items.length / columns);
    grid.style.height = `${Math.max(0, rows * (tileHeight + TILE_GAP) - TILE_GAP)}px`;
    tiles.forEach(place);
  }

  function place(tile, position) {
    const x = (position % columns) * (tileWidth + TILE_GAP);
    const y = Math.floor(position / columns) * (tileHeight + TILE_GAP);
    tile.style.transform = `translate(${x}px, ${y}px)`;
    tile.style.width = `${tileWidth}px`;
    tile.style.height = `${tileHeight}px`;
  }

  function wantedPositions() {
    if (isPrinting) return items.slice(0, PRINTED_TILES).map((_, position) => position);
    const top = grid.getBoundingClientRect().top;
    const margin = innerHeight * MARGIN_SCREENS;
    const rowHeight = tileHeight + TILE_GAP;
    const first = Math.max(0, Math.floor((-top - margin) / rowHeight)) * columns;
    const end = Math.min(items.length, Math.ceil((innerHeight - top + margin) / rowHeight) * columns);
    const wanted = new Set();
    for (let position = first; position < end; position += 1) wanted.add(position);
    // What has the focus or is being listened to stays, wherever it is scrolled to.
    for (const [position, tile] of tiles) {
      const sound = tile.querySelector("audio");
      if (tile.contains(document.activeElement) || (sound && !sound.paused)) wanted.add(position);
    }
    return [...wanted].sort((one, other) => one - other);
  }

  function draw() {
    if (grid.clientWidth === 0) return;
    const positions = wantedPositions();
    const wanted = new Set(positions);
    for (const [position, tile] of tiles) {
      if (wanted.has(position)) continue;
      tile.remove();
      tiles.delete(position);
    }
    // From the end, so that each new tile goes in front of one that never moves:
    // moving a player in the document would stop it.
    let next = null;
    for (const position of positions.reverse()) {
      let tile = tiles.get(position);
      if (!tile) {
        tile = buildTile(items[position], position, items.length);
        tile.querySelector(".tile-open").tabIndex = position === active ? 0 : -1;
        place(tile, position);
        tiles.set(position, tile);
        grid.insertBefore(tile, next);
      }
      next = tile;
    }
  }

  function show(newItems) {
    items = newItems;
    active = 0;
    tiles.clear();
    grid.replaceChildren();
    measure();
    draw();
  }

  function scrollTo(position) {
    const pinned = document.querySelector(".toolbar").getBoundingClientRect().height + TILE_GAP;
    const gridTop = grid.getBoundingClientRect().top + scrollY;
    const top = gridTop + Math.floor(position / columns) * (tileHeight + TILE_GAP);
    if (top < scrollY + pinned) {
      window.scrollTo({ top: top - pinned, behavior: "instant" });
    } else if (top + tileHeight > scrollY + innerHeight) {
      window.scrollTo({ top: top + tileHeight + TILE_GAP - innerHeight, behavior: "instant" });
    }
  }

  function focus(position) {
    if (!items.length) return;
    const before = tiles.get(active)?.querySelector(".tile-open");
    if (before) before.tabIndex = -1;
    active = Math.min(Math.max(position, 0), items.length - 1);
    scrollTo(active);
    draw();
    const button = tiles.get(active).querySelector(".tile-open");
    button.tabIndex = 0;
    button.focus({ preventScroll: true });
  }

  grid.addEventListener("click", (event) => {
    const tile = event.target.closest(".tile");
    if (tile && !event.target.closest("audio, a")) onOpen(Number(tile.dataset.position));
  });

  grid.addEventListener("keydown", (event) => {
    if (!event.target.matches(".tile-open")) return;
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -columns,
      ArrowDown: columns,
      Home: -items.length,
      End: items.length,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    focus(active + steps[event.key]);
  });

  let isDue = false;
  addEventListener(
    "scroll",
    () => {
      if (isDue) return;
      isDue = true;
      requestAnimationFrame(() => {
        isDue = false;
        draw();
      });
    },
    { passive: true },
  );
  new ResizeObserver(() => {
    measure();
    draw();
  }).observe(grid);
  addEventListener("beforeprint", () => {
    isPrinting = true;
    draw();
  });
  addEventListener("afterprint", () => {
    isPrinting = false;
    draw();
  });

  return { show, focus };
}

function buildTile(item, position, total) {
  const open = element("button", {
    type: "button",
    class: "tile-open",
    "aria-label": `${STATUSES[item.status].label}, ${item.endpoint}: ${describe(item)}`,
  });
  const duration = durationOf(item);
  const figures = [
    item.seed === null ? null : `seed ${item.seed}`,
    item.cost_usd === null ? null : formatDollars(item.cost_usd),
    duration === null ? null : formatSeconds(duration),
  ].filter((text) => text !== null);
  return element(
    "li",
    { class: `tile is-${item.status}`, "data-position": position, "data-id": item.id, "aria-posinset": position + 1, "aria-setsize": total },
    open,
    element("div", { class: "tile-media" }, ...tileMedia(item)),
    element(
      "div",
      { class: "tile-caption" },
      element(
        "div",
        { class: "tile-head" },
        element("span", { class: "tile-status", title: STATUSES[item.status].label }, icon(STATUSES[item.status].icon)),
        element("span", { class: "tile-endpoint", title: item.endpoint }, item.endpoint),
      ),
      element("p", { class: "tile-prompt", title: item.prompt }, item.prompt || item.id),
      element("p", { class: "tile-figures" }, ...figures.map((text) => element("span", {}, text))),
    ),
  );
}

function tileMedia(item) {
  const [media] = item.media;
  if (!media) return [tileWords(item)];
  const parts = [mediaPreview(media, describe(item))];
  if (item.media.length > 1) parts.push(element("span", { class: "tile-count" }, `1 / ${item.media.length}`));
  return parts;
}

function tileWords(item) {
  if (item.status === "succeeded") {
    const { result } = item;
    if (result === null) return element("p", { class: "tile-text" }, "No result was recorded.");
    const text = typeof result.text === "string" ? result.text : JSON.stringify(result);
    return element("p", { class: "tile-text" }, text.slice(0, LONGEST_EXCERPT));
  }
  return element(
    "div",
    { class: "tile-failure" },
    statusBadge(item.status),
    element("p", {}, (item.error || "No reason was recorded.").slice(0, LONGEST_EXCERPT)),
  );
}

function mediaPreview(media, words) {
  if (!isLoadable(media.href)) {
    const why = safeAddress(media.href) ? "Stored elsewhere, not loaded" : "No usable address";
    return placeholder(media, why);
  }
  if (media.kind === "image") {
    // Lazy, eagerly decoded off the main thread; the size keeps the place.
    const picture = element("img", { alt: words, loading: "lazy", decoding: "async", width: media.width, height: media.height });
    return whileLoading(picture, "load", media);
  }
  if (media.kind === "video") return whileLoading(videoPreview(words), "loadeddata", media);
  if (media.kind === "audio") {
    const player = element("audio", { controls: true, preload: "metadata", src: media.href, "aria-label": words });
    return element("div", { class: "tile-sound" }, icon("wave"), player);
  }
  return placeholder(media, media.content_type);
}

function videoPreview(words) {
  const video = element("video", { loop: true, playsinline: true, preload: "metadata", "aria-label": words, tabindex: -1 });
  // The attribute alone mutes only a parsed element, not one that a script made.
  video.muted = true;
  return video;
}

function whileLoading(node, loadedEvent, media) {
  const frame = element("div", { class: "frame is-loading" }, node);
  if (media.kind === "video") frame.append(element("span", { class: "tile-play" }, icon("play")));
  node.addEventListener(loadedEvent, () => frame.classList.remove("is-loading"), { once: true });
  node.addEventListener("error", () => frame.replaceWith(placeholder(media, "The file is missing or broken")), { once: true });
  node.setAttribute("src", media.href);
  return frame;
}

function placeholder(media, why) {
  return element(
    "div",
    { class: "tile-placeholder" },
    icon(KINDS[media.kind].icon),
    element("span", { class: "file-name" }, media.name),
    element("span", {}, why),
  );
}

// A video plays while it is looked at, unless the reader asked for less motion.
function playWhileHovered(grid) {
  const video = (event) => event.target.closest?.(".tile")?.querySelector("video");
  const start = (event) => {
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) video(event)?.play().catch(() => {});
  };
  const stop = (event) => {
    if (!event.target.closest?.(".tile")?.contains(event.relatedTarget)) video(event)?.pause();
  };
  grid.addEventListener("pointerover", start);
  grid.addEventListener("focusin", start);
  grid.addEventListener("pointerout", stop);
  grid.addEventListener("focusout", stop);
}
