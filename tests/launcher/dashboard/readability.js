// What people can't read on the page as it is now: text that is too faint, too small, or outside of the window.
() => {
  const CONTRAST = 4.5, SMALLEST_PX = 10;
  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const below = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = numbers(getComputedStyle(each).backgroundColor);
      if (colour.length < 4 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const scrolls = (element) => {
    for (let each = element.parentElement; each; each = each.parentElement)
      if (each !== document.body && ["auto", "scroll", "hidden"].includes(getComputedStyle(each).overflowX)) return true;
    return false;
  };
  const faults = [], width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) faults.push("the page is wider than the window");
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    const element = node.parentElement, words = node.data.trim();
    if (!words || !element.checkVisibility() || element.closest(".skip, .hidden, option, title, circle")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect(), style = getComputedStyle(element), svg = element.closest("svg");
    const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
    const size = parseFloat(style.fontSize) * scale, name = `${words.slice(0, 30)} (${element.tagName})`;
    if (size < SMALLEST_PX) faults.push(`${name}: ${size.toFixed(1)} px`);
    const [high, low] = [light(numbers(svg ? style.fill : style.color)), light(below(element))].sort((a, b) => b - a);
    const contrast = (high + 0.05) / (low + 0.05);
    if (contrast < CONTRAST) faults.push(`${name}: contrast ${contrast.toFixed(1)}`);
    if (svg && (box.left < svg.getBoundingClientRect().left || box.right > svg.getBoundingClientRect().right + 1)) faults.push(`${name}: cut off`);
    if (!svg && !scrolls(element) && (box.right > width + 1 || box.left < 0)) faults.push(`${name}: outside of the window`);
  }
  for (const card of document.querySelectorAll(".card:not(:has(table))"))
    if (card.scrollWidth > card.clientWidth + 1) faults.push(`${card.innerText.slice(0, 30)}: wider than its card`);
  return { dark: light(below(document.body)) < 0.2, faults: [...new Set(faults)].sort() };
}
