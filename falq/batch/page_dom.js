"use strict";

// Builds the page's elements and its words from data that is not trusted.
//
// Owns how text, attributes and addresses get into the document. It never
// parses a string as HTML and never sets an address that `safeAddress` refused;
// the other scripts have no other way to build an element.

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

const STATUSES = {
  succeeded: { label: "Succeeded", icon: "check" },
  failed: { label: "Failed", icon: "cross" },
  cancelled: { label: "Cancelled", icon: "slash" },
  timed_out: { label: "Timed out", icon: "clock" },
  unknown: { label: "Unknown", icon: "question" },
};

const KINDS = {
  image: { label: "Images", icon: "image" },
  video: { label: "Videos", icon: "play" },
  audio: { label: "Sound", icon: "wave" },
  file: { label: "Files", icon: "file" },
  none: { label: "No media", icon: "file" },
};

// Strokes in a square of 16.
const ICONS = {
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4.5 4.5l7 7m0-7l-7 7",
  slash: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M4.2 4.2l7.6 7.6",
  clock: "M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M8 5v3.2l2.2 1.4",
  question: "M5.8 6a2.2 2.2 0 1 1 3.1 2c-.7.4-.9.8-.9 1.5M8 12.2v.1",
  image: "M2.5 3.5h11v9h-11zM2.5 11l3-3 2.5 2.5 2-2 3.5 3M10.5 6.2v.1",
  play: "M5.5 3.5v9l7-4.5z",
  wave: "M2.5 7v2M5.2 5v6M8 2.8v10.4M10.8 5v6M13.5 7v2",
  file: "M4 2.5h5l3 3v8H4zM9 2.5v3h3",
  copy: "M6 6h7v7.5H6zM10 6V2.5H3V10h3",
  download: "M8 2.5v7.5m-3.2-3L8 10.2 11.2 7M3 13.5h10",
  open: "M9 2.5h4.5V7M13.5 2.5l-6 6M11.5 9v4.5h-9v-9H7",
  left: "M10 3L5 8l5 5",
  right: "M6 3l5 5-5 5",
};

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    node.setAttribute(name, value === true ? "" : String(value));
  }
  // `append` turns a string into a text node.
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function element(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function drawing(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);
}

function icon(name) {
  const shape = drawing("path", { d: ICONS[name] });
  return drawing("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true" }, shape);
}

function statusBadge(status) {
  const { label, icon: name } = STATUSES[status];
  return element("span", { class: `badge is-${status}` }, icon(name), label);
}

// The renderer checked every address already; this holds for a page that was
// edited afterwards. Browsers drop tabs and line ends inside an address, so a
// control character anywhere means no.
function safeAddress(href) {
  if (typeof href !== "string" || href === "" || /[\x00-\x20\x7f\\]/.test(href)) return null;
  if (/^data:(image|video|audio)\//i.test(href) || /^https:\/\/[^/]/i.test(href)) return href;
  if (/^[a-z][a-z0-9+.-]*:/i.test(href) || href.startsWith("/")) return null;
  return href;
}

// Files elsewhere are linked only: loading them would tell a stranger who looks.
function isLoadable(href) {
  return safeAddress(href) !== null && !/^https:/i.test(href);
}

function formatCount(value) {
  return value.toLocaleString("en-US");
}

function formatSeconds(value) {
  if (value < 0.0995) return `${Math.round(value * 1000)} ms`;
  if (value < 10) return `${value.toFixed(value < 1 ? 2 : 1)} s`;
  if (value < 120) return `${Math.round(value)} s`;
  const minutes = Math.floor(value / 60);
  if (minutes < 120) return `${minutes} min ${Math.round(value % 60)} s`;
  return `${(value / 3600).toFixed(1)} h`;
}

function formatDollars(value) {
  const digits = value !== 0 && Math.abs(value) < 0.1 ? 4 : 2;
  return `$${value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: digits })}`;
}

function durationOf(item) {
  if (item.started_s === null || item.ended_s === null) return null;
  return Math.max(0, item.ended_s - item.started_s);
}

function describe(item) {
  return item.prompt || `${item.endpoint}, ${item.id}`;
}

// Sentences from the run may hold commands between backticks.
function sentence(text) {
  const pieces = String(text).split("`");
  return pieces.map((piece, number) => (number % 2 ? element("code", {}, piece) : piece));
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Pages opened from disk may not use the clipboard in every browser.
    const area = element("textarea", { class: "offscreen", readonly: true });
    area.value = text;
    (document.querySelector("dialog[open]") || document.body).append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  document.getElementById("announcement").textContent = `Copied ${text.slice(0, 80)}`;
}

function copyButton(text, label) {
  const button = element("button", { type: "button", class: "ghost", "aria-label": label, title: label }, icon("copy"));
  button.addEventListener("click", async () => {
    const held = document.activeElement;
    await copyText(text);
    held?.focus();
    button.replaceChildren(icon("check"));
    setTimeout(() => button.replaceChildren(icon("copy")), 1500);
  });
  return button;
}
