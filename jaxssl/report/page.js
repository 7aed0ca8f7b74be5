// The maps: the image of the nearest dot, and one class at a time.
for (const map of document.querySelectorAll(".map")) {
  const svg = map.querySelector("svg"), peek = map.querySelector(".peek"), tile = peek.firstElementChild;
  const dots = [...svg.querySelectorAll("circle")];
  const at = dots.map((dot) => [dot.cx.baseVal.value, dot.cy.baseVal.value]);
  let chosen = null;

  const look = (event) => {
    const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let best = -1, least = 20 * 20;
    at.forEach(([x, y], i) => {
      const far = (x - p.x) ** 2 + (y - p.y) ** 2;
      if (far < least && !dots[i].parentNode.classList.contains("dim")) [best, least] = [i, far];
    });
    chosen?.classList.remove("chosen");
    chosen = dots[best];
    peek.hidden = !chosen;
    if (!chosen) return;
    chosen.classList.add("chosen");
    tile.src = chosen.dataset.image;
    peek.lastElementChild.textContent = chosen.parentNode.dataset.name;
    const right = at[best][0] > 200, low = at[best][1] > 150;
    peek.style.left = right ? "auto" : `${at[best][0] / 4 + 3}%`;
    peek.style.right = right ? `${100 - at[best][0] / 4 + 3}%` : "auto";
    peek.style.top = low ? "auto" : `${at[best][1] / 3}%`;
    peek.style.bottom = low ? `${100 - at[best][1] / 3}%` : "auto";
  };
  svg.addEventListener("pointermove", look);
  svg.addEventListener("pointerdown", look);

  const groups = [...svg.querySelectorAll("g")];
  const buttons = map.nextElementSibling?.matches(".legend") ? [...map.nextElementSibling.children] : [];
  buttons.forEach((button, i) =>
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      buttons.forEach((other, j) => other.setAttribute("aria-pressed", on && i === j));
      groups.forEach((group, j) => group.classList.toggle("dim", on && i !== j));
    })
  );
}
