// What a person could not read, reach or name: run inside the page; returns sentences, or nothing.
() => {
  const found = [];
  const seen = (element) => { const box = element.getBoundingClientRect(); return box.width > 0 && box.height > 0 && getComputedStyle(element).visibility !== "hidden"; };
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const painted = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const known = new Map(); // a page has few colours, and each is looked at thousands of times
  const rgba = (color) => known.get(color) ?? known.set(color, painted(color)).get(color);
  const over = ([r, g, b, a], under) => [r, g, b].map((value, n) => value * (a / 255) + under[n] * (1 - a / 255));
  const ground = (element) => {
    const layers = [];
    for (let each = element; each; each = each.parentElement) layers.push(rgba(getComputedStyle(each).backgroundColor));
    return layers.reverse().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const light = (color) => { const [r, g, b] = color.map((v) => { const c = v / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const contrast = (a, b) => { const [high, low] = [light(a), light(b)].sort((x, y) => y - x); return (high + 0.05) / (low + 0.05); };
  const name = (element) => `${element.tagName.toLowerCase()}.${element.className?.baseVal ?? element.className} "${(element.textContent || element.getAttribute("aria-label") || "").trim().slice(0, 40)}"`;

  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const parent = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !seen(parent) || parent.closest(".unseen, .skip, noscript, :disabled")) continue;
    const behind = ground(parent), ratio = contrast(over(rgba(getComputedStyle(parent).color), behind), behind);
    if (ratio < 4.5) found.push(`contrast ${ratio.toFixed(2)} of ${name(parent)}`);
  }
  const least = innerWidth <= 640 ? 32 : 24;
  for (const control of document.querySelectorAll("button, a[href], input, select, textarea, summary, [role=button]")) {
    if (!seen(control) || control.closest(".skip")) continue;
    const box = (control.matches("input[type=file].unseen") ? control.labels[0] : control).getBoundingClientRect(), isInline = control.matches("a, mark") && getComputedStyle(control).display === "inline";
    const isBox = control.matches("input[type=checkbox], input[type=radio]") && control.closest("label");
    if (!isInline && !isBox && (box.height < least - 0.5 || box.width < 24 - 0.5)) found.push(`${Math.round(box.width)}×${Math.round(box.height)} px: ${name(control)}`);
    const label = control.getAttribute("aria-label") || control.textContent.trim() || control.labels?.[0]?.textContent.trim() || control.title;
    if (!label) found.push(`no name: ${name(control)}`);
  }
  if (document.documentElement.scrollWidth > innerWidth) found.push(`sideways: ${document.documentElement.scrollWidth} px in ${innerWidth}`);
  for (const table of document.querySelectorAll("table")) if (!table.caption?.textContent.trim()) found.push("a table without a caption");
  for (const row of document.querySelectorAll("table:not([role]) tr[aria-expanded]")) found.push(`a plain row can't be expanded: ${name(row)}`);
  for (const head of document.querySelectorAll("th:not([scope])")) found.push(`no scope: ${name(head)}`);
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id), twice = ids.filter((id, n) => ids.indexOf(id) !== n);
  if (twice.length) found.push(`ids twice: ${twice}`);
  return found;
}
