// Gradio opens a list of choices again that Tab has left: it hears the key after the list is closed. Tab is for the
// browser alone, and for those who listen on `window`.
document.addEventListener("keydown", (event) => {
  if (event.key === "Tab" && event.target.matches("input[role=combobox]")) event.stopImmediatePropagation();
}, { capture: true });

// Gradio ends a page's connection as soon as it might be left: who decides to stay must still have it. It listened first;
// who captures is asked before.
window.addEventListener("beforeunload", (event) => {
  if (!window.persamUnsaved || !window.persamUnsaved()) return;
  event.preventDefault();
  event.stopImmediatePropagation();
}, { capture: true });

// Gradio's page ends its stream of answers when all have come. What was pressed just before it hears of that is lost in
// two ways, and a page that was loaded anew has lost what was drawn on it, too:
//  - The end of the stream is an error as long as there is something to read, and taken for a lost connection: the page
//    is loaded anew. So a stream that the page itself has ended is simply at its end.
//  - The answer waits for a stream that nobody opens until something else is pressed. So we do (see `wake_button`).
const ask = window.fetch;
let isAwaited = false;
const listen = async (what, how) => {
  const signal = what.signal || how?.signal;
  const unlessEnded = (error) => { if (!signal?.aborted) throw error; return { done: true }; };
  isAwaited = false;
  signal?.addEventListener("abort", () => {
    if (isAwaited) setTimeout(() => document.getElementById("studio-wake")?.click());
  });
  const answer = await ask.call(window, what, how).catch(unlessEnded);
  if (!answer.body) return new Response(null, { status: answer.status || 200 });
  const reader = answer.body.getReader();
  const pull = async (to) => {
    const { done, value } = await reader.read().catch(unlessEnded);
    if (done) to.close(); else to.enqueue(value);
  };
  const cancel = (why) => reader.cancel(why).catch(unlessEnded);
  return new Response(new ReadableStream({ pull, cancel }), { status: answer.status, headers: answer.headers });
};
window.fetch = async (what, how) => {
  const address = String(what.url || what);
  if (address.includes("/queue/data")) return listen(what, how);
  const answer = await ask.call(window, what, how);
  if (address.includes("/queue/join")) isAwaited = true;
  return answer;
};
