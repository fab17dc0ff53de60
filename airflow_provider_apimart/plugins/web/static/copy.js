// Copies the text of the element that a button names, and says so beside the button.
"use strict";

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    const said = button.nextElementSibling;
    said.textContent = "";
    try {
      await navigator.clipboard.writeText(source.textContent);
      said.textContent = "Copied";
    } catch {
      // The browser allows it on secure pages only: select it, so that the keyboard can.
      window.getSelection().selectAllChildren(source);
      said.textContent = "Selected: copy it with the keyboard";
    }
  });
}
