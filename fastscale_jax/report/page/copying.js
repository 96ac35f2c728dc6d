// Buttons that copy a text, and say that they did.
"use strict";
const Copying = (() => {
  const SAID_FOR = 2000; // ms

  // where the browser has no clipboard for files or refuses it
  function copyBySelection(text) {
    const area = document.createElement("textarea");
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    const focused = document.activeElement;
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return isCopied;
  }

  async function copied(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      return copyBySelection(text);
    }
  }

  // Makes a button copy what `text` returns; `say` is told what came of it.
  function offer(button, text, say) {
    const label = button.textContent;
    let timer = 0;
    button.addEventListener("click", async () => {
      const isCopied = await copied(text());
      button.textContent = isCopied ? "Copied" : "Not copied";
      button.classList.toggle("is-done", isCopied);
      const what = button.dataset.what;
      say(isCopied ? `Copied: ${what}.` : `The browser refuses to copy; select the ${what} and copy it.`);
      clearTimeout(timer);
      timer = setTimeout(() => {
        button.textContent = label;
        button.classList.remove("is-done");
      }, SAID_FOR);
    });
  }

  return { offer };
})();
