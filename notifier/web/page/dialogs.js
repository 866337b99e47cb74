// Modal questions. They are native dialogs: the browser handles focus and Esc.

import { byId, text } from "./dom.js";

for (const cancel of document.querySelectorAll("dialog .cancel")) {
  cancel.addEventListener("click", () => cancel.closest("dialog").close());
}

/** Open a dialog; resolve to what `read` returns on submit (undefined: stay open), or to null when it is closed. */
export function answer(dialog, read) {
  const form = dialog.querySelector("form");
  form.noValidate = true;
  return new Promise((resolve) => {
    const submit = async (event) => {
      event.preventDefault();
      const value = await read();
      if (value !== undefined) finish(value);
    };
    const closed = () => finish(null);
    const finish = (value) => {
      form.removeEventListener("submit", submit);
      dialog.removeEventListener("close", closed);
      dialog.close();
      resolve(value);
    };
    form.addEventListener("submit", submit);
    dialog.addEventListener("close", closed);
    dialog.showModal();
  });
}

/** Ask for confirmation; `yes` is the label of the button. */
export async function confirm(title, explanation, yes) {
  text(byId("confirm-title"), title);
  text(byId("confirm-text"), explanation);
  text(byId("confirm-yes"), yes);
  return (await answer(byId("confirm"), () => true)) === true;
}

/** Ask for the token; `wrong`: the last one was refused. */
export async function askToken(wrong) {
  const input = byId("token-value");
  input.value = "";
  const say = (message) => {
    text(byId("token-wrong"), message);
    input.setAttribute("aria-invalid", String(message !== ""));
  };
  say(wrong ? "That token was refused. Is it the one of this daemon?" : "");
  return answer(byId("token"), () => {
    const token = input.value.trim();
    if (token !== "") return token;
    say("Enter a token, or cancel.");
    input.focus();
    return undefined;
  });
}
