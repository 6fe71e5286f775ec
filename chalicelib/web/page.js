/** The page: which view an address leads to, the search, the login. The views are in views.js. */

import { client, LoginNeeded } from "./client.js";
import { make, say, wordsOf } from "./dom.js";
import { differenceView, everythingView, historyView, imageView, repositoriesView, repositoryView, retentionView } from "./views.js";

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
const search = /** @type {HTMLFormElement} */ (document.getElementById("search"));
const field = /** @type {HTMLInputElement} */ (search.elements.namedItem("prefix"));
const logOut = /** @type {HTMLButtonElement} */ (document.getElementById("logout"));

/** What an address's hash may be, and the view that it leads to. */
const VIEWS = /** @type {const} */ ([
  [/^#\/repository\/([^?]+)(?:\?prefix=(.*))?$/, repositoryView],
  [/^#\/everything\/(.+)$/, everythingView],
  [/^#\/history\/(.+)$/, historyView],
  [/^#\/retention\/(.+)$/, retentionView],
  [/^#\/image\/([^@]+)@(.+)$/, imageView],
  [/^#\/difference\/([^@]+)@(.+)\.\.(.+)$/, differenceView],
  [/^#\/(?:\?prefix=(.*))?$/, repositoriesView],
]);

/** Counts the views: one that comes late, when another is asked for, is not shown. */
let asked = 0;

/** @param {boolean} [stay] whether the focus stays where it is */
async function show(stay = false) {
  asked += 1;
  const mine = asked;
  const hash = location.hash || "#/";
  main.setAttribute("aria-busy", "true");
  let shown;
  try {
    shown = await viewOf(hash);
  } catch (error) {
    shown = error instanceof LoginNeeded ? loginView() : errorView(error, hash);
  }
  if (mine !== asked) return;
  main.removeAttribute("aria-busy");
  main.replaceChildren(...[shown].flat());
  logOut.hidden = !client.loggedIn;
  if (!stay) {
    main.querySelector("input")?.matches(".login input") ? main.querySelector("input")?.focus() : main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
}

/** @param {string} hash */
function viewOf(hash) {
  for (const [pattern, view] of VIEWS) {
    const found = pattern.exec(hash);
    if (found) {
      const words = found.slice(1).map((word) => decoded(word ?? ""));
      document.title = words[0] ? `${words[0]} · Moorage` : "Moorage";
      if (view === repositoriesView) field.value = words[0];
      return /** @type {(...words: string[]) => Promise<Node | Node[]>} */ (view)(...words);
    }
  }
  return Promise.resolve(make("p", { class: "error" }, "This address leads nowhere. ", make("a", { href: "#/" }, "All repositories")));
}

/** @param {string} word */
function decoded(word) {
  try {
    return decodeURIComponent(word);
  } catch {
    return word;
  }
}

/**
 * What went wrong, and where to go from there.
 * @param {unknown} error
 * @param {string} hash
 */
function errorView(error, hash) {
  const name = /^#\/(?:image|difference|history|retention|everything)\/([^@]+)/.exec(hash)?.[1];
  return [
    make("h1", {}, "This can't be shown"),
    make("p", { class: "error", role: "alert" }, wordsOf(error)),
    make("div", { class: "bar-row" },
      make("button", { type: "button", onclick: () => show() }, "Try again"),
      name && make("a", { href: `#/repository/${name}` }, decoded(name)),
      name && make("a", { href: `#/history/${name}` }, "What was deleted there"),
      make("a", { href: "#/" }, "All repositories")),
  ];
}

function loginView() {
  document.title = "Log in · Moorage";
  const wrong = make("p", { class: "error", role: "alert", hidden: true });
  const button = make("button", { class: "main" }, "Log in");
  /** @param {SubmitEvent} event */
  const submit = async (event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    button.disabled = true;
    try {
      await client.logIn(String(form.get("user") || "moorage"), String(form.get("password")));
      await show();
    } catch (error) {
      wrong.hidden = false;
      wrong.textContent = wordsOf(error);
      button.disabled = false;
    }
  };
  return make("form", { class: "card login", onsubmit: submit },
    make("h1", {}, "Log in"),
    make("p", { class: "soft" }, "As with docker login: your user name, and an API token (moor_…) for the password."),
    make("label", {}, "User name", make("input", { name: "user", autocomplete: "username" })),
    make("label", {}, "API token", make("input", { name: "password", type: "password", required: true, autocomplete: "current-password" })),
    wrong, button);
}

search.addEventListener("submit", (event) => {
  event.preventDefault();
  go();
});

/** @type {number | undefined} */
let typing;
field.addEventListener("input", () => {
  window.clearTimeout(typing);
  typing = window.setTimeout(go, 250);
});

function go() {
  window.clearTimeout(typing);
  const hash = field.value ? `#/?prefix=${encodeURIComponent(field.value)}` : "#/";
  if (location.hash === hash) return;
  // Each letter is no step back.
  const searching = /^#\/(\?|$)/.test(location.hash || "#/");
  history[searching ? "replaceState" : "pushState"](null, "", hash);
  show(true);
}

logOut.addEventListener("click", () => {
  client.logOut();
  say("Logged out.");
  show();
});

document.addEventListener("keydown", (event) => {
  const inField = event.target instanceof HTMLElement && event.target.closest("input, textarea, dialog");
  if (event.key === "/" && !inField && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    field.select();
  }
});

document.querySelector(".skip")?.addEventListener("click", (event) => {
  // Its address is no view.
  event.preventDefault();
  main.focus();
});

window.addEventListener("hashchange", () => show());
document.addEventListener("moorage-changed", () => show());
show();
