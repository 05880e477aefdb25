// Gradio opens a list of choices again that Tab has left: it hears the key after the list is closed. Tab is for the
// browser alone.
window.addEventListener("keydown", (event) => {
  if (event.key === "Tab" && event.target.matches("input[role=combobox]")) event.stopImmediatePropagation();
}, { capture: true });
