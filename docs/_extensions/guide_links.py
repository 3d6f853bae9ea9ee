"""Which parts of the guide a page of the reference points to: pages, or labels that the guide sets above headings."""

from __future__ import annotations

import skbig
from skbig import components, data, exceptions, image, networks, plots, testing, text

SECTIONS = {
    "optimizer": "guide-optimizers",
    "schedule": "guide-schedules",
    "clipping": "guide-clipping",
    "loss": "guide-losses",
    "penalty": "guide-penalties",
    "augmentation": "guide-augmentations",
    "privacy": "guide-privacy",
}
"""Of a component, by its kind."""

PAGES = {
    "skbig.from_sklearn": ["/auto_examples/plot_migrating"],
    "skbig.components.Progress": ["guide-schedules", "your-own"],
    "skbig.components.Mix": ["guide-augmentations", "your-own"],
    "skbig.plots.SearchDisplay": ["guide-search-display"],
    "skbig.plots.TrainingDisplay": ["guide-training-display"],
    "skbig.exceptions.CheckpointWarning": ["/guide/crashes"],
    "skbig.exceptions.InterruptedWarning": ["/guide/crashes"],
    "skbig.exceptions.WorkerError": ["/guide/many_devices"],
    "skbig.exceptions.DivergenceError": ["/faq"],
    "skbig.exceptions.MemorySplitWarning": ["/guide/large_data"],
    "skbig.testing.check_component": ["your-own"],
    "skbig.testing.tiny_text_model": ["/guide/pretrained"],
    "skbig.testing.tiny_image_model": ["/guide/pretrained"],
    "skbig.text.TextEncoder": ["/guide/pretrained"],
    "skbig.text.BigTextClassifier": ["/guide/pretrained", "/guide/training"],
    "skbig.text.BigTextRegressor": ["/guide/pretrained", "/guide/training"],
    "skbig.image.ImageEncoder": ["/guide/pretrained"],
}
ESTIMATOR = ["/guide/tables", "/guide/training", "/guide/validation", "/guide/data", "/guide/state"]


def links_of(name: str, thing: object) -> list[str]:
    """Return pages (from a slash) and labels for a public name."""
    if name in PAGES:
        return PAGES[name]
    if name.startswith("skbig.components."):
        section = SECTIONS.get(getattr(thing, "kind", ""))
        return [section] if section and getattr(thing, "name", None) else [*filter(None, [section]), "your-own"]
    if name.startswith("skbig.networks."):
        return ["/guide/training", "your-own"]
    if name.startswith("skbig.data."):
        return ["/guide/large_data"]
    if name.endswith("SearchCV"):
        return ["/guide/search"]
    return ESTIMATOR if name.startswith("skbig.Big") else ["/guide/many_devices"]


def guide_links() -> dict[str, list[str]]:
    """Return them for every public name, by its full one."""
    return {
        f"{module.__name__}.{name}": links_of(f"{module.__name__}.{name}", getattr(module, name))
        for module in (skbig, components, data, exceptions, networks, plots, testing, text, image)
        for name in getattr(module, "__all__", vars(module))
    }
