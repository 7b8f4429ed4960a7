// Markdown as elements. A model's text never becomes HTML, and links lead to http(s) alone. Each piece of text keeps its
// place in the source, so that a mark on the source stands on the words that are shown.
import { clean, h } from "./dom.js";
import { copy } from "./cli.js";
import { whole } from "./marked.js";

const DEPTH_MAX = 6, PLAIN_FROM = 200_000, LABEL_MAX = 1000, ADDRESS_SHOWN = 60;
const FENCE = /^ {0,3}(`{3,}|~{3,})([^`]*)$/, HEADING = /^ {0,3}(#{1,6})\s/, RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/, QUOTE = /^ {0,3}> ?/;
const ITEM = /^(\s{0,3})([-*+]|\d{1,9}[.)])(\s+|$)/, INTERRUPTS = /^ {0,3}(?:[-*+]|1[.)])\s+\S/, UNDERLINE = /^\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?$/;
const SPECIAL = /[\\`*_~[<]|https?:\/\//g, ESCAPED = /[`*_~|#>.-]/, ADDRESS = /https?:\/\/[^\s<>"'`\])}]+/y;
const LINK = /!?\[((?:[^[\]\\]|\\.|\[[^[\]]*\])*)\]\(\s*<?([^\s<>()]*(?:\([^\s()]*\)[^\s<>()]*)*)>?(?:\s+"[^"]*")?\s*\)/y;

// markdownView(place): `show(text)` draws what has changed since the last time; `settle(text)` draws all of it;
// `mark(text, marks)` draws it with marks [{begin, end, make(words, isFirst, isInLink)}], places in UTF-16 units.
export function markdownView(place) {
  let source = { text: "", begin: 0 }, drawn = [], marks = [];

  function draw(text, keep) {
    for (const each of drawn.splice(keep)) each.node.remove();
    for (const block of blocksFrom(text, keep ? source.begin : 0)) {
      const node = block.draw(leafOf(marks));
      place.append(node);
      drawn.push({ begin: block.begin, node });
    }
  }

  return {
    show(text) {
      const isMore = drawn.length > 1 && text.length <= PLAIN_FROM && text.startsWith(source.text);
      const from = isMore ? drawn.at(-1).begin : 0; // what stands before the last block can't change any more
      source = { text, begin: from };
      draw(text, isMore ? drawn.length - 1 : 0);
    },
    settle(text) {
      const begins = blocksFrom(text, 0).map((block) => block.begin);
      if (text === source.text && begins.join() === drawn.map((each) => each.begin).join()) return;
      source = { text, begin: 0 };
      draw(text, 0);
    },
    mark(text, given) {
      marks = given;
      source = { text, begin: 0 };
      draw(text, 0);
    },
  };
}

// The pieces of a text that belong to marks become what these make of them.
function leafOf(marks) {
  const begun = new Set();
  return (text, begin, isInLink = false) => {
    const parts = [];
    let at = 0;
    for (const mark of marks) {
      const from = Math.max(0, mark.begin - begin), to = Math.min(text.length, mark.end - begin);
      if (from >= to || from < at) continue;
      if (from > at) parts.push(whole(text.slice(at, from)));
      parts.push(mark.make(clean(text.slice(from, to), Infinity), !begun.has(mark), isInLink));
      if (!isInLink) begun.add(mark);
      at = to;
    }
    if (at < text.length) parts.push(whole(text.slice(at)));
    return parts;
  };
}

// ---- blocks

function blocksFrom(text, from) {
  if (text.length > PLAIN_FROM) return [{ begin: 0, draw: (leaf) => h("p", {}, leaf(text, 0)) }];
  const lines = [];
  for (let at = from; at <= text.length;) {
    const end = text.indexOf("\n", at) < 0 ? text.length : text.indexOf("\n", at);
    lines.push({ text: text.slice(at, end).replace(/\r$/, ""), begin: at });
    at = end + 1;
  }
  return blocksOf(lines, 0);
}

const isBlank = (line) => !line || !line.text.trim();
const cut = (line, n) => ({ text: line.text.slice(n), begin: line.begin + n });
const leadOf = (line) => line.text.length - line.text.trimStart().length;
const trimmed = (line) => { const lead = leadOf(line); return { text: line.text.trim(), begin: line.begin + lead }; };

function blocksOf(lines, depth) {
  const blocks = [];
  for (let n = 0; n < lines.length;) {
    if (isBlank(lines[n])) { n += 1; continue; }
    const begin = lines[n].begin, isDeep = depth >= DEPTH_MAX;
    const found = fence(lines, n) ?? heading(lines, n) ?? rule(lines, n) ?? (isDeep ? null : quote(lines, n, depth) ?? list(lines, n, depth)) ?? grid(lines, n) ?? paragraph(lines, n);
    blocks.push({ begin, draw: found.draw, isText: found.isText });
    n = found.next;
  }
  return blocks;
}

function fence(lines, n) {
  const [, ticks, language] = lines[n].text.match(FENCE) ?? [];
  if (!ticks) return null;
  let end = n + 1;
  const isEnd = (line) => { const text = line.text.trim(); return text.length >= ticks.length && text === ticks[0].repeat(text.length); };
  while (end < lines.length && !isEnd(lines[end])) end += 1;
  const inside = joined(lines.slice(n + 1, end));
  return { next: end + 1, draw: (leaf) => codeBlock(language.trim(), inside, leaf) };
}

const codeBlock = (language, inside, leaf) => h("div", { class: "code" },
  h("div", { class: "between" }, h("span", { class: "note12" }, clean(language, 40) || "code"), h("button", { type: "button", class: "link", onclick: () => copy(inside.text) }, "Copy")),
  h("pre", { tabindex: "0", role: "group", "aria-label": "Code" }, h("code", {}, inside.leaves(0, inside.text.length, leaf))));

function heading(lines, n) {
  const [found, signs] = lines[n].text.match(HEADING) ?? [];
  if (!found) return null;
  const line = trimmed(cut(lines[n], found.length));
  line.text = line.text.replace(/\s#+$/, "");
  return { next: n + 1, draw: (leaf) => h("h3", { class: `level${signs.length}` }, inlineOf(joined([line]), leaf)) };
}

const rule = (lines, n) => RULE.test(lines[n].text) ? { next: n + 1, draw: () => h("hr") } : null;

function quote(lines, n, depth) {
  const own = [];
  for (let found; n < lines.length && (found = lines[n].text.match(QUOTE)); n += 1) own.push(cut(lines[n], found[0].length));
  return own.length ? { next: n, draw: (leaf) => h("blockquote", {}, blocksOf(own, depth + 1).map((block) => block.draw(leaf))) } : null;
}

function list(lines, n, depth) {
  const first = lines[n].text.match(ITEM), isOrdered = first && /\d/.test(first[2]), items = [];
  const isNext = (line) => { const found = line?.text.match(ITEM); return found && /\d/.test(found[2]) === isOrdered ? found : null; };
  if (!first) return null;
  for (let found; (found = isNext(lines[n]));) {
    const indent = found[1].length + found[2].length + (found[3].length > 4 ? 1 : found[3].length || 1), own = [cut(lines[n], Math.min(indent, lines[n].text.length))];
    for (n += 1; n < lines.length; n += 1) {
      const line = lines[n], isInside = !isBlank(line) && leadOf(line) >= first[1].length + 2;
      if (isInside) own.push(cut(line, Math.min(leadOf(line), indent)));
      else if (isBlank(line) && !isBlank(lines[n + 1]) && leadOf(lines[n + 1]) >= first[1].length + 2) own.push(line);
      else if (isBlank(line) || isBlank(own.at(-1)) || ITEM.test(line.text) || begins(lines, n)) break;
      else own.push(trimmed(line)); // a line that was wrapped
    }
    items.push(own);
    let after = n;
    while (after < lines.length && isBlank(lines[after])) after += 1;
    if (isNext(lines[after])) n = after;
  }
  return { next: n, draw: (leaf) => h(isOrdered ? "ol" : "ul", isOrdered ? { start: Number(first[2].slice(0, -1)) } : {}, items.map((own) => h("li", {}, itemOf(blocksOf(own, depth + 1), leaf)))) };
}

// An item's first paragraph is its own text.
const itemOf = (blocks, leaf) => blocks.map((block, n) => n === 0 && block.isText ? [...block.draw(leaf).childNodes] : block.draw(leaf));

function grid(lines, n) {
  const under = lines[n + 1]?.text.trim() ?? "";
  if (!lines[n].text.includes("|") || !under.includes("|") || !UNDERLINE.test(under)) return null;
  const rows = [];
  let next = n + 2;
  for (; next < lines.length && !isBlank(lines[next]) && lines[next].text.includes("|"); next += 1) rows.push(cellsOf(lines[next]));
  const head = cellsOf(lines[n]), sides = under.replace(/^\||\|$/g, "").split("|").map((each) => each.trim().endsWith(":") ? "num" : null);
  const row = (tag, cells, leaf) => h("tr", {}, head.map((_, at) => h(tag, { class: sides[at], scope: tag === "th" ? "col" : null }, cells[at] && inlineOf(joined([cells[at]]), leaf))));
  return {
    next, draw: (leaf) => h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" }, h("table", {}, h("caption", { class: "unseen" }, "A table of the answer"),
      h("thead", {}, row("th", head, leaf)), h("tbody", {}, rows.map((cells) => row("td", cells, leaf))))),
  };
}

function cellsOf(line) {
  const cells = [];
  let from = 0, isCode = false;
  for (let at = 0; at <= line.text.length; at += 1) {
    if (line.text[at] === "`") isCode = !isCode;
    if (at < line.text.length && (line.text[at] !== "|" || isCode || line.text[at - 1] === "\\")) continue;
    cells.push(trimmed({ text: line.text.slice(from, at), begin: line.begin + from }));
    from = at + 1;
  }
  if (!cells[0].text) cells.shift();
  if (cells.length && !cells.at(-1).text) cells.pop();
  return cells;
}

const begins = (lines, n) => FENCE.test(lines[n].text) || HEADING.test(lines[n].text) || RULE.test(lines[n].text) || QUOTE.test(lines[n].text) || INTERRUPTS.test(lines[n].text) || grid(lines, n) !== null;

function paragraph(lines, n) {
  const own = [trimmed(lines[n])];
  for (n += 1; n < lines.length && !isBlank(lines[n]) && !begins(lines, n); n += 1) own.push(trimmed(lines[n]));
  const inside = joined(own);
  return { next: n, isText: true, draw: (leaf) => h("p", {}, inlineOf(inside, leaf)) };
}

// ---- within a line

// Lines as one text, whose places in the source are known.
function joined(lines) {
  const starts = [];
  let length = 0;
  for (const line of lines) {
    starts.push({ at: length, begin: line.begin });
    length += line.text.length + 1;
  }
  return {
    text: lines.map((line) => line.text).join("\n"),
    leaves(from, to, leaf, isInLink) {
      const parts = [];
      let n = starts.findLastIndex((each) => each.at <= from);
      for (let at = from; at < to; n += 1) {
        const end = Math.min(to, starts[n + 1]?.at ?? to);
        parts.push(...leaf(this.text.slice(at, end), starts[n].begin + at - starts[n].at, isInLink));
        at = end;
      }
      return parts;
    },
  };
}

const inlineOf = (inside, leaf) => spell({ inside, leaf, none: new Map() }, 0, inside.text.length, 0, false);

// The text between two places: what is plain, and elements for what is not.
function spell(held, from, to, depth, isInLink) {
  const { text } = held.inside, parts = [];
  let plain = from;
  const flush = (end) => parts.push(...held.inside.leaves(plain, end, held.leaf, isInLink));
  for (let at = next(text, from, to); at < to;) {
    if (text[at] === "\\" && ESCAPED.test(text[at + 1] ?? "")) {
      flush(at);
      plain = at + 1;
      at = next(text, at + 2, to);
      continue;
    }
    const found = depth < DEPTH_MAX ? element(held, at, to, depth, isInLink) : null;
    if (found?.draw) {
      flush(at); // first, since the first piece of a mark differs from its others
      parts.push(found.draw());
      plain = found.end;
    }
    at = next(text, found?.end ?? at + 1, to);
  }
  flush(to);
  return parts;
}

function next(text, from, to) {
  SPECIAL.lastIndex = from;
  const found = SPECIAL.exec(text);
  return found && found.index < to ? found.index : to;
}

// What begins here: {draw, end}, or only an end where it is text; null where nothing begins.
function element(held, at, to, depth, isInLink) {
  const { text } = held.inside, sign = text[at];
  if (sign === "`") return codeSpan(held, at, to, isInLink);
  if (sign === "[" || sign === "<" || sign === "h") return isInLink ? null : sign === "[" ? link(held, at, to, depth) : address(held, at, to);
  if (sign === "\\") return null;
  const run = lengthOf(text, at, to), size = sign === "~" ? 2 : Math.min(run, 2);
  if (run < size || run > 3 || !/\S/.test(text[at + run] ?? " ") || (sign === "_" && /\w/.test(text[at - 1] ?? " "))) return { end: at + run };
  const close = closing(held, sign, size, at + run, to);
  if (close < 0) return { end: at + run };
  const tag = sign === "~" ? "del" : size === 2 ? "strong" : "em";
  return { draw: () => h(tag, {}, spell(held, at + size, close, depth + 1, isInLink)), end: close + size };
}

function lengthOf(text, at, to) {
  let end = at;
  while (end < to && text[end] === text[at]) end += 1;
  return end - at;
}

// Where such an emphasis ends. That there is none is remembered: a text of a million signs is read once.
function closing(held, sign, size, from, to) {
  const { text } = held.inside, name = `${sign}${size} ${to}`;
  if (held.none.has(name) && from >= held.none.get(name)) return -1;
  for (let at = from; at < to;) {
    at = text.indexOf(sign, at);
    if (at < 0 || at >= to) break;
    const run = lengthOf(text, at, to), isWord = sign === "_" && /\w/.test(text[at + run] ?? " ");
    if ((run === size || run > 2) && run >= size && /\S/.test(text[at - 1]) && !isWord) return at + run - size;
    at += run;
  }
  if (!held.none.has(name)) held.none.set(name, from);
  return -1;
}

function codeSpan(held, at, to, isInLink) {
  const { text } = held.inside, run = lengthOf(text, at, to), name = `\`${run} ${to}`;
  if (held.none.has(name)) return { end: at + run };
  for (let close = at + run; (close = text.indexOf("`", close)) >= 0 && close < to;) {
    const found = lengthOf(text, close, to);
    if (found === run) {
      const isPadded = text[at + run] === " " && text[close - 1] === " " && close - at > run + 2;
      return { draw: () => h("code", {}, held.inside.leaves(at + run + isPadded, close - isPadded, held.leaf, isInLink)), end: close + run };
    }
    close += found;
  }
  held.none.set(name, at);
  return { end: at + run };
}

function link(held, at, to, depth) {
  const { text } = held.inside, isImage = text[at - 1] === "!";
  LINK.lastIndex = at;
  const found = LINK.exec(text);
  if (!found || at + found[0].length > to || found[1].length > LABEL_MAX) return null;
  const url = safe(found[2]);
  if (!url || isImage && !found[1]) return { end: at + 1 };
  return { draw: () => anchor(url, spell(held, at + 1, at + 1 + found[1].length, depth + 1, true), found[1]), end: at + found[0].length };
}

function address(held, at, to) {
  const { text } = held.inside, isBracketed = text[at] === "<", from = at + isBracketed;
  ADDRESS.lastIndex = from;
  const found = ADDRESS.exec(text)?.[0].replace(/[.,;:!?*_~]+$/, ""), url = found && from + found.length <= to && safe(found);
  if (!url || (isBracketed && text[from + found.length] !== ">")) return null;
  return { draw: () => anchor(url, held.inside.leaves(from, from + found.length, held.leaf, true), found), end: from + found.length + isBracketed };
}

// An address of the web; null for any other, and for one that begins with a name and "@", which hides where it leads.
function safe(text) {
  const url = URL.canParse(text) ? new URL(text) : null;
  return url && /^https?:$/.test(url.protocol) && !url.username && !url.password ? url : null;
}

function anchor(url, label, words) {
  const shown = `${url.host}${url.pathname === "/" ? "" : url.pathname}${url.search}`;
  const says = words.includes(url.host) ? null : h("span", { class: "address" }, ` (${clean(shown, ADDRESS_SHOWN)})`);
  return h("a", { href: url.href, rel: "noreferrer noopener nofollow", target: "_blank" }, label, says);
}
