"use strict";

// Starts the page: reads its data, keeps what is chosen, and shows it.
//
// Owns the choice (view, filters, search, order, open item) and its copy in the
// address, so that a link or a reload shows the same. The gallery, the lightbox
// and the charts are told what to show and never read the choice.

const PROBLEM_ROWS = 100;

const ORDERS = {
  order: { label: "Input order", by: () => 0 },
  ended: { label: "First settled", by: (item) => item.ended_s ?? Infinity },
  slowest: { label: "Slowest first", by: (item) => -(durationOf(item) ?? -1) },
  fastest: { label: "Fastest first", by: (item) => durationOf(item) ?? Infinity },
  dearest: { label: "Most expensive first", by: (item) => -(item.cost_usd ?? -1) },
  cheapest: { label: "Cheapest first", by: (item) => item.cost_usd ?? Infinity },
};

const NOTHING_CHOSEN = { view: "gallery", status: "", endpoint: "", kind: "", q: "", sort: "order", item: "" };

// Before the first paint: a page that flashes white at night is worse than none.
const remembered = readTheme();
if (remembered) document.documentElement.dataset.theme = remembered;

function readTheme() {
  try {
    const theme = localStorage.getItem("falq-theme");
    return theme === "dark" || theme === "light" ? theme : null;
  } catch {
    // Storage is refused to pages from disk in some browsers.
    return null;
  }
}

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function startTheme() {
  const button = document.getElementById("theme");
  const name = () => button.setAttribute("aria-label", isDark() ? "Switch to light" : "Switch to dark");
  name();
  button.hidden = false;
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("falq-theme", theme);
    } catch {
      // It then holds until the page is closed.
    }
    name();
  });
}

function kindOf(item) {
  return item.media.length ? item.media[0].kind : "none";
}

function countBy(items, name) {
  const counts = new Map();
  for (const item of items) counts.set(name(item), (counts.get(name(item)) ?? 0) + 1);
  return counts;
}

function searchText(item) {
  return [item.prompt, item.id, item.request_id, item.error, item.error_type, item.endpoint].join("\n").toLowerCase();
}

function choose(items, choice) {
  const words = choice.q.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = items.filter(
    (item) =>
      (!choice.status || item.status === choice.status) &&
      (!choice.endpoint || item.endpoint === choice.endpoint) &&
      (!choice.kind || item.media.some((media) => media.kind === choice.kind) || kindOf(item) === choice.kind) &&
      words.every((word) => item.searchText.includes(word)),
  );
  if (choice.sort === "order") return chosen;
  const { by } = ORDERS[choice.sort];
  // Infinity less infinity is no number; equal ones keep their order.
  return chosen.sort((one, other) => by(one) - by(other) || 0);
}

function readAddress() {
  const choice = { ...NOTHING_CHOSEN };
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (name in choice) choice[name] = value;
  }
  if (!(choice.sort in ORDERS)) choice.sort = "order";
  if (!document.getElementById(`view-${choice.view}`)) choice.view = "gallery";
  return choice;
}

function writeAddress(choice) {
  const changed = Object.entries(choice).filter(([name, value]) => value !== NOTHING_CHOSEN[name]);
  const hash = new URLSearchParams(changed).toString();
  // Without `history` entries: going back should leave the page, not undo a letter.
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

function option(value, label) {
  return element("option", { value }, label);
}

function fillFilters(items) {
  const statuses = countBy(items, (item) => item.status);
  const chips = [["", "All", items.length], ...Object.keys(STATUSES).map((status) => [status, STATUSES[status].label, statuses.get(status)])];
  document.getElementById("statuses").replaceChildren(
    ...chips
      .filter(([, , count]) => count)
      .map(([status, label, count]) =>
        element(
          "button",
          { type: "button", class: `chip${status ? ` is-${status}` : ""}`, "data-status": status, "aria-pressed": "false" },
          status ? icon(STATUSES[status].icon) : null,
          label,
          element("span", { class: "count" }, formatCount(count)),
        ),
      ),
  );
  const endpoints = [...countBy(items, (item) => item.endpoint)].sort(([one], [other]) => one.localeCompare(other));
  document.getElementById("endpoint").replaceChildren(
    option("", "All endpoints"),
    ...endpoints.map(([endpoint, count]) => option(endpoint, `${endpoint} (${formatCount(count)})`)),
  );
  const kinds = countBy(items, kindOf);
  document.getElementById("kind").replaceChildren(
    option("", "All kinds"),
    ...Object.keys(KINDS).filter((kind) => kinds.has(kind)).map((kind) => option(kind, `${KINDS[kind].label} (${formatCount(kinds.get(kind))})`)),
  );
  const hasCosts = items.some((item) => item.cost_usd !== null);
  const orders = Object.entries(ORDERS).filter(([name]) => hasCosts || (name !== "dearest" && name !== "cheapest"));
  document.getElementById("sort").replaceChildren(...orders.map(([name, { label }]) => option(name, label)));
}

function problemRow(item, open) {
  const name = element("button", { type: "button", class: "link" }, item.id);
  name.addEventListener("click", () => open(item));
  const request = item.request_id
    ? [element("code", {}, item.request_id), copyButton(item.request_id, "Copy the request id")]
    : ["none"];
  const cell = (label, ...children) => element("td", { "data-label": label }, element("div", {}, ...children));
  return element(
    "tr",
    {},
    cell("Job", name, element("span", { class: "muted" }, item.endpoint)),
    cell("Outcome", statusBadge(item.status)),
    cell("Reason", element("p", {}, item.error || "No reason was recorded."), item.error_type ? element("code", {}, item.error_type) : null),
    cell("Request id", ...request),
    cell("How to retry", ...(item.how_to_retry ? sentence(item.how_to_retry) : ["–"])),
  );
}

function startProblems(open) {
  const body = document.getElementById("problem-rows");
  const more = document.getElementById("more-problems");
  let problems = [];
  const grow = () => {
    const start = body.children.length;
    body.append(...problems.slice(start, start + PROBLEM_ROWS).map((item) => problemRow(item, open)));
    const left = problems.length - body.children.length;
    more.hidden = left === 0;
    more.textContent = `Show ${formatCount(Math.min(left, PROBLEM_ROWS))} more of ${formatCount(left)}`;
  };
  more.addEventListener("click", grow);
  return (items) => {
    problems = items.filter((item) => item.status !== "succeeded");
    document.getElementById("problem-count").textContent = formatCount(problems.length);
    document.getElementById("no-problems").hidden = problems.length > 0;
    document.getElementById("problem-table").hidden = problems.length === 0;
    body.replaceChildren();
    grow();
  };
}

function startTabs(tabs, onChoose) {
  tabs.forEach((tab, number) => {
    tab.addEventListener("click", () => onChoose(tab.dataset.view));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      const next = tabs[(number + step + tabs.length) % tabs.length];
      onChoose(next.dataset.view);
      next.focus();
    });
  });
}

function startCommands() {
  document.querySelectorAll(".next-steps code").forEach((code) => {
    // With a gap to fill in, such as a key, it is no use as it stands.
    if (!code.textContent.includes("…")) code.after(copyButton(code.textContent, "Copy the command"));
  });
}

function start() {
  let items = JSON.parse(document.getElementById("falq-data").textContent);
  const field = (name) => document.getElementById(name);
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const charts = field("charts");
  let choice = readAddress();
  let chosen = items;

  const lightbox = createLightbox(field("lightbox"), {
    onShow: (item) => keep({ item: String(item.index) }),
    onClose: (position) => {
      keep({ item: "" });
      if (choice.view === "gallery") gallery.focus(position);
    },
  });
  const gallery = createGallery(field("grid"), { onOpen: (position) => lightbox.open(chosen, position) });
  const openAlone = (item) => lightbox.open([item], 0);

  function keep(change) {
    choice = { ...choice, ...change };
    writeAddress(choice);
  }

  function update(change) {
    keep(change);
    showChoice();
    showGallery();
  }

  function showChoice() {
    for (const name of ["endpoint", "kind", "sort", "q"]) {
      if (field(name).value !== choice[name]) field(name).value = choice[name];
    }
    document.querySelectorAll(".chip").forEach((chip) => chip.setAttribute("aria-pressed", String(chip.dataset.status === choice.status)));
    field("clear").hidden = ["status", "endpoint", "kind", "q"].every((name) => choice[name] === "");
  }

  function showGallery() {
    chosen = choose(items, choice);
    field("shown").textContent = `Showing ${formatCount(chosen.length)} of ${formatCount(items.length)}`;
    field("nothing").hidden = chosen.length > 0;
    gallery.show(chosen);
  }

  function showView(view) {
    keep({ view });
    tabs.forEach((tab) => {
      const isChosen = tab.dataset.view === view;
      tab.setAttribute("aria-selected", String(isChosen));
      tab.tabIndex = isChosen ? 0 : -1;
      field(`view-${tab.dataset.view}`).hidden = !isChosen;
    });
    if (view === "charts") drawCharts(charts, items);
  }

  const clear = () => update({ status: "", endpoint: "", kind: "", q: "" });
  document.querySelectorAll(".clear").forEach((button) => button.addEventListener("click", clear));
  field("statuses").addEventListener("click", (event) => {
    const chip = event.target.closest(".chip");
    if (chip) update({ status: chip.dataset.status });
  });
  ["endpoint", "kind", "sort"].forEach((name) => field(name).addEventListener("change", () => update({ [name]: field(name).value })));
  field("q").addEventListener("input", () => update({ q: field("q").value }));
  field("q").addEventListener("keydown", (event) => {
    if (event.key === "Escape") update({ q: "" });
  });
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.matches("input, select, textarea") || field("lightbox").open) return;
    event.preventDefault();
    showView("gallery");
    field("q").focus();
  });
  addEventListener("hashchange", () => {
    choice = readAddress();
    showChoice();
    showView(choice.view);
    showGallery();
  });

  let drawnWidth = 0;
  new ResizeObserver(() => {
    if (charts.clientWidth === 0 || charts.clientWidth === drawnWidth) return;
    drawnWidth = charts.clientWidth;
    drawCharts(charts, items);
  }).observe(charts);
  addEventListener("beforeprint", () => {
    document.querySelectorAll("[role=tabpanel]").forEach((panel) => (panel.hidden = false));
    drawCharts(charts, items);
  });
  addEventListener("afterprint", () => showView(choice.view));

  startTheme();
  startCommands();
  startTabs(tabs, showView);
  const showProblems = startProblems(openAlone);

  function take(newItems) {
    items = newItems;
    items.forEach((item) => (item.searchText = searchText(item)));
    showProblems(items);
    fillFilters(items);
  }

  take(items);
  playWhileHovered(field("grid"));
  startLive({
    onItems: (newItems) => {
      take(newItems);
      showChoice();
      showGallery();
      if (choice.view === "charts") drawCharts(charts, items);
    },
  });
  const asked = items.find((item) => String(item.index) === choice.item);
  showChoice();
  showView(choice.view);
  showGallery();
  if (asked) lightbox.open(chosen.includes(asked) ? chosen : [asked], Math.max(0, chosen.indexOf(asked)));
}

document.addEventListener("DOMContentLoaded", start);
