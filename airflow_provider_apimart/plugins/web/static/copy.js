// Copies the text of the element that a button names.
"use strict";

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      // The browser allows it on secure pages only: select it, so that the keyboard can.
      window.getSelection().selectAllChildren(source);
    }
  });
}
