// The page's frame: session, navigation, the bar, and which screen is shown.
//
// HOW A SCREEN IS MADE. Put screens/NAME.js beside the others: the node lists the files that there are, and the
// navigation shows those of SCREENS. It exports
//
//   export const title = "Peers";
//   export function mount(root, params) { …; return function unmount() { … }; }
//
// `root` is an empty <div>; `params` are those of the address (#/chat?base=x → {base: "x"}; `setParams` of lib/route.js
// writes them). Make elements with h() of lib/dom.js only: strings go in as text, never as HTML. Keep each part of a
// screen in a part() and call its show(facts, draw): it draws anew only when its facts have changed, and keeps the
// focus, and what is typed, on what bears the same data-key; under a pressed pointer it waits. Live facts:
// on("state" | "jobs" | "money" | "peers" | "chain" | "engine", f) of lib/events.js, each the object of its verb's
// --json; let go of them in unmount. Everything else: get, post, money of lib/api.js; they throw Refused with the
// node's own sentence. What costs goes through act() of lib/dialog.js, and every panel with buttons has a cliLine() of
// lib/cli.js that `says` what they do. Amounts come as wei in texts: amount() of lib/format.js. Buttons that change
// something are made by button() of lib/parts.js, and are off while the node is gone. Keys of the screen alone:
// screenKeys() of lib/keys.js. A screen with all that it imports at its start stays under 150 KB (a test).
import { openSession, post, Refused } from "./lib/api.js";
import { h, put } from "./lib/dom.js";
import { openDialog } from "./lib/modal.js";
import { connect, latest, link, on, poll } from "./lib/events.js";
import { endOf, figuresOf, stateLine } from "./lib/bar.js";
import { listen, showKeys } from "./lib/keys.js";
import { percent } from "./lib/format.js";
import { button, emptyState, note } from "./lib/parts.js";
import { read } from "./lib/route.js";
import { toast } from "./lib/toast.js";

const SCREENS = [["home", "Home", "h"], ["chat", "Chat", "c"], ["models", "Models", "b"], ["adapters", "Adapters", "a"], ["factory", "Factory", "f"], ["datanets", "Datanets", "d"], ["money", "Money", "m"], ["governance", "Governance", "g"], ["peers", "Peers", "p"]];
const THEME = "openledger-theme";
const main = document.getElementById("main"), nav = document.getElementById("nav"), bar = document.getElementById("bar");
const menu = h("button", { id: "menu", type: "button", class: "small", onclick: toggleMenu }, "Menu"), line = stateLine(), figures = h("div", { class: "bar-figures" }), end = endOf({ pause: () => order("/pause"), resume: () => order("/resume") });
let screens = [], shown = null, unmount = null, numRouted = 0;

async function start() {
  applyTheme(localStorage.getItem(THEME));
  let session = null;
  try {
    session = await openSession();
  } catch { /* gone between the files and this */ }
  if (!session) return showShutOut();
  screens = SCREENS.filter(([name]) => session.screens.includes(name));
  listen({ go: (name) => { location.hash = `#/${name}`; }, letters: Object.fromEntries(screens.map(([name, , key]) => [key, name])), toggleTheme });
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  addEventListener("hashchange", route);
  put(bar, menu, line, figures, end);
  on("state", drawFrame);
  on("factory", () => drawFrame(latest.state));
  on("link", drawLink);
  setInterval(drawBar, 1000);
  connect();
  drawFrame(null);
  await route();
}

async function route() {
  if (link.isShutOut) return;
  const turn = ++numRouted, { name, params } = read();
  const [screen] = screens.find(([each]) => each === name) ?? screens[0];
  if (shown === screen && unmount?.changed) return unmount.changed(params);
  const module = await import(`./screens/${screen}.js`);
  if (turn !== numRouted) return; // another was chosen while this one was on its way
  unmount?.();
  shown = screen;
  const root = h("div", {}), hadFocus = main.contains(document.activeElement) || nav.contains(document.activeElement);
  put(main, h("div", { id: "gone" }), root);
  unmount = module.mount(root, params);
  document.title = `${module.title} · openledger-node`;
  nav.classList.remove("open");
  scrollTo(0, 0);
  if (hadFocus) main.focus({ preventScroll: true });
  drawFrame(latest.state);
  drawLink();
}

function drawFrame(status) {
  if (link.isShutOut) return;
  put(nav, h("div", {},
    h("div", { class: "brand" }, h("i", { "aria-hidden": "true" }), "openledger-node"),
    h("div", { class: "where" }, [status?.network, status?.version].filter(Boolean).map((each) => h("div", {}, each))),
    h("ul", {}, screens.map(([name, title]) => h("li", {},
      h("a", { href: `#/${name}`, dataset: { key: name }, "aria-current": shown === name ? "page" : null }, title, counted(name, status))))),
    h("ul", { class: "foot" },
      h("li", {}, h("button", { type: "button", dataset: { key: "keys" }, onclick: showKeys }, "Keyboard", h("kbd", {}, "?"))),
      h("li", {}, h("button", { type: "button", dataset: { key: "theme" }, onclick: toggleTheme }, "Light or dark", h("kbd", {}, "t"))))));
  drawBar();
}

// What waits for the person; of peers, how many there are.
function counted(name, status) {
  if (name === "factory") return countedSteps(latest.factory?.run);
  const many = name === "peers" ? status?.peers : status?.waiting?.[name];
  return many ? h("span", { class: "count", "aria-label": `${many} ${name === "peers" ? "connected" : "waiting"}` }, many) : null;
}

function countedSteps(run) {
  const isOpen = run && ["waiting", "training", "paused", "evaluating"].includes(run.state), made = percent(run?.step ?? 0, run?.steps ?? 0);
  return isOpen ? h("span", { class: "count", "aria-label": `${run.state}, ${made} of its steps` }, made) : null;
}

function drawBar() {
  if (link.isShutOut) return;
  menu.setAttribute("aria-expanded", String(nav.classList.contains("open")));
  const now = new Date();
  line.say(latest.state, link);
  put(figures, figuresOf(latest.state, latest.chain, now));
  end.say(latest.state, link, now);
}

function toggleMenu() {
  nav.classList.toggle("open");
  drawBar();
}

async function order(path) {
  try {
    await post(path);
    poll();
  } catch (error) {
    if (error instanceof Refused) openDialog("It was refused", note("bad", error.message), h("form", { method: "dialog", class: "buttons" }, h("button", {}, "Close")));
  }
}

// While the node is gone: how old what is shown is, and no button that would change something.
function drawLink() {
  if (link.isShutOut) return showShutOut();
  const place = document.getElementById("gone");
  if (!place) return;
  document.documentElement.toggleAttribute("data-gone", link.isUp === false);
  for (const each of document.querySelectorAll("[data-changes]")) each.disabled = link.isUp === false || "off" in each.dataset;
  if (link.isUp !== false) return put(place);
  const age = Math.round((Date.now() - (link.heardAt ?? link.since)) / 1000);
  put(place, emptyState({
    where: "Any page · daemon stopped", tone: "bad", title: "The node is not running",
    text: `The page lost contact ${age} s ago and tries again every 3 s. The data shown is from ${link.heardAt ? new Date(link.heardAt).toISOString().slice(11, 19) : "before"} UTC; buttons are off until the node is back.`,
    buttons: [button("Try now", poll, { kind: "primary", changes: false })], words: "start",
  }));
}

function showShutOut() {
  unmount?.();
  unmount = null;
  put(nav);
  put(bar);
  put(main, h("div", {}, h("h1", {}, "openledger-node"), h("p", {}, ""), emptyState({
    where: "Page · no session", title: "Open the link that openledger-node status prints",
    text: "This page shows a node's money, so it opens only with a link that its operator printed. Each link works once. The session ends when the node stops.", words: "status",
  })));
}

function applyTheme(theme) {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

// From the system's colours to the others, to the system's for good, and back to following the system.
function toggleTheme() {
  const [own, other] = matchMedia("(prefers-color-scheme: dark)").matches ? ["dark", "light"] : ["light", "dark"];
  const theme = { [other]: own, [own]: null }[localStorage.getItem(THEME)];
  if (theme === null) localStorage.removeItem(THEME);
  else localStorage.setItem(THEME, theme ?? other);
  applyTheme(localStorage.getItem(THEME));
  toast({ light: "Light", dark: "Dark" }[localStorage.getItem(THEME)] ?? "As the system");
}

start();
