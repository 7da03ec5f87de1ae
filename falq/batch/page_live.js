"use strict";

// Keeps a live page up to date.
//
// Owns the events and the fetching of the page's newer self: its data, and the
// parts of the head that a server draws. What a page shows of its data, `page.js`
// decides. A page that stands alone has no events and never asks anything.

const LOOK_AGAIN_MS = 2000;

function startLive({ onItems }) {
  const events = document.documentElement.dataset.events;
  if (!events) return;
  const line = document.getElementById("progress");
  let shown = 0;
  let told = 0;
  let isLooking = false;

  async function look() {
    if (isLooking) return;
    isLooking = true;
    try {
      while (shown !== told) {
        const wanted = told;
        const answer = await fetch(location.pathname, { cache: "no-store" });
        if (!answer.ok) return;
        const newer = new DOMParser().parseFromString(await answer.text(), "text/html");
        for (const part of [".summary"]) {
          document.querySelector(part).replaceWith(document.adoptNode(newer.querySelector(part)));
        }
        onItems(JSON.parse(newer.getElementById("falq-data").textContent));
        shown = wanted;
        await new Promise((resume) => setTimeout(resume, LOOK_AGAIN_MS));
      }
    } catch {
      // The server has gone: what is shown stays.
    } finally {
      isLooking = false;
    }
  }

  const source = new EventSource(events);
  source.addEventListener("progress", (event) => {
    const now = JSON.parse(event.data);
    const share = `${formatCount(now.done)} of ${formatCount(now.total)} rows`;
    const rest = `${formatCount(now.running)} running, ${formatCount(now.queued)} queued, ${formatCount(now.failed)} failed`;
    line.textContent = `${share}: ${rest}${now.is_stopping ? ", stopping" : ""}`;
    told = now.done;
    look();
  });
  source.addEventListener("error", () => {
    line.textContent = "The batch has ended, or its server is gone. report.html in the output folder has everything.";
  });
}
