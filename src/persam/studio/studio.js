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
