// While pictures are being generated the page is loaded again from time to time, unless somebody works in it.
"use strict";

const seconds = Number(document.body.dataset.refresh);

if (seconds) {
  setInterval(() => {
    const isIdle = document.activeElement === document.body || document.activeElement === null;
    if (!document.hidden && isIdle) window.location.reload();
  }, seconds * 1000);
}
