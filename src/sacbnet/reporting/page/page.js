for (const slider of document.querySelectorAll(".slider")) {
  const input = slider.querySelector("input");
  const viewer = slider.closest(".viewer");
  slider.hidden = false;
  input.addEventListener("input", () => viewer.style.setProperty("--cut", input.value + "%"));
}
