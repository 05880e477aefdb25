// Gradio opens a list of choices again that Tab has left: it hears the key after the list is closed. Tab is for the
// browser alone, and for those who listen on `window`.
document.addEventListener("keydown", (event) => {
  if (event.key === "Tab" && event.target.matches("input[role=combobox]")) event.stopImmediatePropagation();
}, { capture: true });

// Gradio ends a page's connection as soon as it might be left: who decides to stay must still have it.
window.addEventListener("beforeunload", (event) => {
  if (!window.persamUnsaved || !window.persamUnsaved()) return;
  event.preventDefault();
  event.stopImmediatePropagation();
});

// Gradio's page can miss an answer: its stream of answers is closed when all have come, and what was pressed just before
// it hears of that waits for a stream that nobody opens, until something else is pressed. So we do (see `wake_button`).
const ask = window.fetch;
let isAwaited = false;
window.fetch = async (what, how) => {
  const address = String(what.url || what);
  if (address.includes("/queue/data")) {
    isAwaited = false;
    const wake = () => { if (isAwaited) setTimeout(() => document.getElementById("studio-wake")?.click()); };
    (what.signal || how?.signal)?.addEventListener("abort", wake);
  }
  const answer = await ask.call(window, what, how);
  if (address.includes("/queue/join")) isAwaited = true;
  return answer;
};
