"use strict";

// Keeps a live page up to date.
//
// Owns the events and the fetching of the page's newer self: its data, and the
// parts of the head that a server draws. What a page shows of its data, `page.js`
// decides. A page that stands alone has no events and never asks anything.

const LOOK_AGAIN_MS = 2000;
const THE_END = "end";

function startLive({ onItems }) {
  const events = document.documentElement.dataset.events;
  if (!events) return;
  const line = document.getElementById("progress");
  let shown = 0;
  let told = 0;
  let isLooking = false;
  let lookAgain = () => {};

  async function look() {
    if (isLooking) return;
    isLooking = true;
    try {
      while (shown !== told) {
        const wanted = told;
        const answer = await fetch(location.pathname, { cache: "no-store" });
        if (!answer.ok) return;
        const newer = new DOMParser().parseFromString(await answer.text(), "text/html");
        document.querySelector(".summary").replaceWith(document.adoptNode(newer.querySelector(".summary")));
        onItems(JSON.parse(newer.getElementById("falq-data").textContent));
        shown = wanted;
        if (wanted === THE_END) return;
        await new Promise((resume) => {
          lookAgain = resume;
          setTimeout(resume, LOOK_AGAIN_MS);
        });
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
    line.textContent = now.text;
    told = now.done;
    look();
  });
  source.addEventListener("end", (event) => {
    source.close();
    line.textContent = `The batch has ended: ${JSON.parse(event.data).text}. report.html in the output folder says what to do next.`;
    told = THE_END;
    lookAgain();
    look();
  });
  source.addEventListener("error", () => {
    line.textContent = "The batch has ended, or its server is gone. report.html in the output folder has everything.";
  });
}
