"use strict";

// Shows one item large, with everything that is known about it.
//
// Owns the dialog: what it shows, its keys, and keeping the focus inside. It
// never changes the list it walks along; `page.js` hands it that list and hears
// which item is shown (for the address) and where it was left (for the focus).

function createLightbox(dialog, { onShow, onClose }) {
  const stage = dialog.querySelector(".stage");
  const panel = dialog.querySelector(".panel");
  const place = dialog.querySelector(".place");
  let items = [];
  let position = 0;
  let mediaNumber = 0;

  function draw() {
    const item = items[position];
    const media = item.media[mediaNumber];
    const files = item.media.length > 1 ? `, file ${mediaNumber + 1} of ${item.media.length}` : "";
    place.textContent = `${formatCount(position + 1)} of ${formatCount(items.length)}${files}`;
    stage.replaceChildren(media ? largeMedia(media, describe(item)) : element("div", { class: "stage-words" }, tileWords(item)));
    panel.replaceChildren(...details(item, media));
    panel.scrollTop = 0;
    onShow(item);
  }

  // Files of one item come before the next item; both ends meet.
  function step(direction) {
    const next = mediaNumber + direction;
    if (next >= 0 && next < items[position].media.length) {
      mediaNumber = next;
    } else {
      position = (position + direction + items.length) % items.length;
      mediaNumber = direction > 0 ? 0 : Math.max(0, items[position].media.length - 1);
    }
    draw();
  }

  function open(newItems, newPosition) {
    items = newItems;
    position = newPosition;
    mediaNumber = 0;
    draw();
    if (!dialog.open) dialog.showModal();
    dialog.querySelector(".close").focus();
  }

  function keepFocusInside(event) {
    const stops = [...dialog.querySelectorAll("button, a[href], summary, audio, video")].filter((node) => node.getClientRects().length);
    const first = stops[0];
    const last = stops[stops.length - 1];
    if (event.shiftKey && document.activeElement === first) {
      event.preventDefault();
      last.focus();
    } else if (!event.shiftKey && document.activeElement === last) {
      event.preventDefault();
      first.focus();
    }
  }

  dialog.addEventListener("keydown", (event) => {
    if (event.key === "Tab") keepFocusInside(event);
    // Inside a player the arrows move in time.
    if (event.target.matches("audio, video")) return;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault();
      step(event.key === "ArrowLeft" ? -1 : 1);
    }
  });
  dialog.querySelector(".previous").addEventListener("click", () => step(-1));
  dialog.querySelector(".next").addEventListener("click", () => step(1));
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target === stage) dialog.close();
  });
  dialog.addEventListener("close", () => {
    // Players go with the dialog; a hidden one would play on.
    stage.replaceChildren();
    panel.replaceChildren();
    onClose(position);
  });

  return { open };
}

function largeMedia(media, words) {
  if (!isLoadable(media.href)) return mediaPreview(media, words);
  if (media.kind === "image") {
    return element("img", { class: "large", src: media.href, alt: words, width: media.width, height: media.height });
  }
  if (media.kind === "video") {
    return element("video", { class: "large", src: media.href, controls: true, loop: true, playsinline: true, "aria-label": words });
  }
  if (media.kind === "audio") {
    const player = element("audio", { controls: true, src: media.href, "aria-label": words });
    return element("div", { class: "stage-sound" }, icon("wave"), player);
  }
  return placeholder(media, media.content_type);
}

function details(item, media) {
  const parts = [element("div", { class: "panel-head" }, statusBadge(item.status), element("span", { class: "panel-endpoint" }, item.endpoint))];
  if (item.prompt) {
    const heading = element("div", { class: "panel-label" }, "Prompt", copyButton(item.prompt, "Copy the prompt"));
    parts.push(element("section", {}, heading, element("p", { class: "panel-prompt" }, item.prompt)));
  }
  if (item.status !== "succeeded") parts.push(failureDetails(item));
  parts.push(element("dl", { class: "panel-facts" }, ...panelFacts(item, media)));
  if (media) parts.push(...mediaLinks(media));
  parts.push(foldedJson("Arguments", item.arguments, false));
  if (item.result !== null) parts.push(foldedJson("Result", item.result, item.media.length === 0));
  return parts;
}

function failureDetails(item) {
  return element(
    "section",
    { class: `panel-failure is-${item.status}` },
    element("p", { class: "panel-error" }, item.error || "No reason was recorded."),
    item.error_type ? element("p", {}, element("code", {}, item.error_type)) : null,
    item.how_to_retry ? element("p", {}, ...sentence(item.how_to_retry)) : null,
  );
}

function panelFacts(item, media) {
  const duration = durationOf(item);
  const waited = item.running_s === null || item.started_s === null ? null : item.running_s - item.started_s;
  const size = media?.width && media?.height ? `${media.width} × ${media.height}` : null;
  const rows = [
    ["Id", item.id],
    ["Request id", item.request_id],
    ["Seed", item.seed],
    ["Cost", item.cost_usd === null ? null : formatDollars(item.cost_usd)],
    ["Time", duration === null ? null : formatSeconds(duration)],
    ["Waited in the queue", waited === null ? null : formatSeconds(Math.max(0, waited))],
    ["Submitted", item.started_s === null ? null : `${formatSeconds(item.started_s)} into the run`],
    ["File", media ? media.name : null],
    ["Type", media ? media.content_type : null],
    ["Size", size],
  ];
  return rows
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => {
      const text = String(value);
      const copy = name === "Request id" ? copyButton(text, "Copy the request id") : null;
      return element("div", {}, element("dt", {}, name), element("dd", { class: name === "Id" || name === "Request id" ? "is-id" : null }, text, copy));
    });
}

function mediaLinks(media) {
  const href = safeAddress(media.href);
  if (href === null) return [];
  const links = [];
  if (isLoadable(href)) links.push(element("a", { class: "button", href, download: media.name }, icon("download"), "Download"));
  // Browsers refuse to open a data URL as a page of its own.
  if (!/^data:/i.test(href)) {
    links.push(element("a", { class: "button", href, target: "_blank", rel: "noopener noreferrer" }, icon("open"), "Open"));
  }
  return [element("p", { class: "panel-links" }, ...links)];
}

function foldedJson(label, value, isOpen) {
  const text = JSON.stringify(value, null, 2);
  const body = element("pre", { tabindex: 0, "aria-label": `${label} as JSON` }, ...colored(text));
  return element("details", { class: "json", open: isOpen }, element("summary", {}, label), copyButton(text, `Copy the ${label.toLowerCase()}`), body);
}

// Cuts JSON text at its strings, numbers and words; what lies between stays as it is.
function colored(text) {
  const pattern = /("(?:[^"\\]|\\.)*")(\s*:)?|-?\d[\d.eE+-]*|\b(?:true|false|null)\b/g;
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    parts.push(text.slice(end, match.index));
    const kind = match[2] ? "key" : match[1] ? "string" : "value";
    parts.push(element("span", { class: `json-${kind}` }, match[1] ?? match[0]), match[2] ?? "");
    end = match.index + match[0].length;
  }
  parts.push(text.slice(end));
  return parts;
}
