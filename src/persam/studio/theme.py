"""How the studio looks: one accent colour, the system's own fonts, light and dark as the reader's screen is set."""

from __future__ import annotations

from importlib.resources import files

import gradio as gr

_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")
_MONOSPACE = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def css() -> str:
    """What no variable of Gradio's themes reaches: the style sheet."""
    return (files("persam.studio") / "studio.css").read_text(encoding="utf-8")


def head() -> str:
    """What the page runs before anything else, for its head."""
    return f"<script>{(files('persam.studio') / 'studio.js').read_text(encoding='utf-8')}</script>"


def theme() -> gr.themes.Base:
    """Make the theme: teal on greys; every text keeps a contrast of 4.5 to 1 to its ground (WCAG 2.2, 1.4.3)."""
    # Names of fonts alone, as strings: Gradio would ask a host for those of class GoogleFont.
    plain = gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.zinc,
        text_size=gr.themes.sizes.text_md,
        spacing_size=gr.themes.sizes.spacing_md,
        radius_size=gr.themes.sizes.radius_md,
        font=_FONTS,
        font_mono=_MONOSPACE,
    )
    return plain.set(
        **_both("body_background_fill", "*neutral_50", "*neutral_950"),
        **_both("body_text_color", "*neutral_800", "*neutral_100"),
        **_both("body_text_color_subdued", "*neutral_600", "*neutral_400"),
        **_both("background_fill_primary", "white", "*neutral_900"),
        **_both("background_fill_secondary", "*neutral_100", "*neutral_800"),
        **_both("border_color_primary", "*neutral_200", "*neutral_700"),
        **_both("border_color_accent", "*primary_700", "*primary_400"),
        color_accent="*primary_700",  # its dark form is in studio.css
        **_both("color_accent_soft", "*primary_50", "*neutral_800"),
        **_both("error_text_color", "#b91c1c", "#fca5a5"),
        **_both("link_text_color", "*primary_700", "*primary_300"),
        **_both("link_text_color_hover", "*primary_800", "*primary_200"),
        **_both("link_text_color_visited", "*primary_700", "*primary_300"),
        **_both("link_text_color_active", "*primary_800", "*primary_200"),
        **_both("block_background_fill", "white", "*neutral_900"),
        **_both("block_border_color", "*neutral_200", "*neutral_800"),
        **_both("block_label_background_fill", "white", "*neutral_900"),
        **_both("block_label_text_color", "*neutral_600", "*neutral_300"),
        **_both("block_title_text_color", "*neutral_700", "*neutral_200"),
        **_both("block_info_text_color", "*neutral_600", "*neutral_400"),
        block_title_text_weight="600",
        block_label_border_width="0px",
        block_label_shadow="none",
        **_both("block_shadow", "none", "none"),
        **_both("input_background_fill", "white", "*neutral_950"),
        input_border_width="1px",
        **_both("input_border_color", "*neutral_400", "*neutral_600"),
        **_both("input_border_color_focus", "*primary_700", "*primary_400"),
        **_both("input_placeholder_color", "*neutral_500", "*neutral_400"),
        **_both("input_shadow", "none", "none"),
        **_both("slider_color", "*primary_700", "*primary_400"),
        **_both("loader_color", "*primary_700", "*primary_400"),
        **_both("stat_background_fill", "*primary_200", "*primary_800"),
        **_both("checkbox_border_color", "*neutral_500", "*neutral_500"),
        **_both("checkbox_background_color_selected", "*primary_700", "*primary_600"),
        **_both("checkbox_border_color_selected", "*primary_700", "*primary_600"),
        **_both("checkbox_label_background_fill", "white", "*neutral_900"),
        **_both("checkbox_label_background_fill_hover", "*neutral_100", "*neutral_800"),
        **_both("checkbox_label_background_fill_selected", "*primary_50", "*neutral_800"),
        **_both("checkbox_label_text_color_selected", "*primary_900", "*primary_100"),
        **_both("checkbox_label_border_color", "*neutral_300", "*neutral_700"),
        **_both("checkbox_label_border_color_selected", "*primary_700", "*primary_400"),
        checkbox_label_border_width="1px",
        **_both("button_primary_background_fill", "*primary_700", "*primary_700"),
        **_both("button_primary_background_fill_hover", "*primary_800", "*primary_800"),
        **_both("button_primary_text_color", "white", "white"),
        **_both("button_primary_border_color", "*primary_700", "*primary_700"),
        **_both("button_secondary_background_fill", "white", "*neutral_800"),
        **_both("button_secondary_background_fill_hover", "*neutral_100", "*neutral_700"),
        **_both("button_secondary_text_color", "*neutral_800", "*neutral_100"),
        **_both("button_secondary_border_color", "*neutral_400", "*neutral_600"),
        **_both("button_cancel_background_fill", "white", "*neutral_900"),
        **_both("button_cancel_background_fill_hover", "#fef2f2", "#450a0a"),
        **_both("button_cancel_text_color", "#b91c1c", "#fca5a5"),
        **_both("button_cancel_border_color", "#b91c1c", "#fca5a5"),
        button_border_width="1px",
        button_large_text_weight="600",
        button_medium_text_weight="600",
        button_small_text_weight="500",
        **_both("table_border_color", "*neutral_200", "*neutral_700"),
        **_both("table_even_background_fill", "white", "*neutral_900"),
        **_both("table_odd_background_fill", "*neutral_50", "*neutral_950"),
    )


def _both(name: str, light: str, dark: str) -> dict[str, str]:
    """The two variables of one property."""
    return {name: light, f"{name}_dark": dark}
