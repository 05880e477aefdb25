"""The HTML of the demo's page. It has no script and no outside reference; enlarging works with plain anchors."""

from __future__ import annotations

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>persam demo</title><style>
:root {{ color-scheme: light dark; --line: color-mix(in srgb, CanvasText 14%, Canvas); --soft: color-mix(in srgb,
  CanvasText 65%, Canvas); --good: #15803d; --poor: #a16207; --bad: #c2410c; }}
* {{ box-sizing: border-box; }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1360px; padding: 2rem 1.25rem 4rem;
  background: Canvas; color: CanvasText; }}
h1 {{ font-size: 2rem; line-height: 1.2; margin: 0 0 .5rem; }}
h2 {{ margin: 2.5rem 0 .8rem; padding-top: 1.2rem; border-top: 1px solid var(--line); }}
header p {{ max-width: 46rem; margin: .5rem 0; }}
.soft, small {{ color: var(--soft); }}
dl {{ display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.5rem 0 0; }}
dl div {{ border: 1px solid var(--line); border-radius: 10px; padding: .7rem 1rem; min-width: 9rem; }}
dt {{ color: var(--soft); font-size: .85rem; }} dd {{ margin: 0; font-size: 1.5rem; font-weight: 600; }}
.cards {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 1.2rem; }}
figure {{ margin: 0; border: 1px solid var(--line); border-radius: 10px; overflow: hidden; scroll-margin-top: 1rem; }}
figure.reference {{ border: 2px solid CanvasText; }}
figure a {{ display: block; }}
figure img {{ width: 100%; aspect-ratio: 4 / 3; object-fit: contain; display: block; background: #16181c; }}
figcaption {{ padding: .6rem .8rem .8rem; }}
.name {{ font-weight: 600; }} .name::first-letter {{ text-transform: uppercase; }}
.verdict {{ float: right; font-size: .8rem; font-weight: 600; color: #fff; border-radius: 99px; padding: .1rem .6rem; }}
.right {{ background: var(--good); }} .poor {{ background: var(--poor); }} .wrong {{ background: var(--bad); }}
.view {{ display: none; position: fixed; inset: 0; z-index: 1; padding: 1rem; background: rgb(0 0 0 / .86);
  overflow: auto; cursor: zoom-out; }}
.view:target {{ display: grid; place-items: center; }}
.view img {{ max-width: 100%; height: auto; border-radius: 8px; }}
code, pre {{ font: .9rem/1.6 ui-monospace, monospace; }}
pre {{ border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1rem; overflow-x: auto; }}
</style></head><body>
<header>
<h1>One photo and one mask. Found in the others.</h1>
<p>Each thing below was learned from <b>one</b> photo and its mask (the framed picture), without training; then two
weights were tuned on that photo (PerSAM-F). After that it was looked for in photos that the model never saw: elsewhere,
larger or smaller, turned, mirrored, in other light, twice, beside another thing, and where it is not at all.</p>
<p>The colour is what was found, the <b>white line is the truth</b>. An outline without colour is a mask in
a photo that was called empty. Click a picture to see the way to its mask.</p>
<dl>
<div><dt>mean IoU, PerSAM</dt><dd>{plain}</dd></div>
<div><dt>mean IoU, PerSAM-F</dt><dd>{tuned}</dd></div>
<div><dt>present or not, told right</dt><dd>{right} of {photos}</dd></div>
<div><dt>learn</dt><dd>{learn}</dd></div>
<div><dt>tune</dt><dd>{tune}</dd></div>
<div><dt>find, per photo</dt><dd>{segment}</dd></div>
</dl>
<p class="soft">Model {model}, mode {mode}, seed {seed}; IoU over the {with_thing} photos that have the thing, whether
or not it was called present; from 0.5 on it counts as found. {caution}</p>
</header>
{sections}
<h2>Try it on your own photos</h2>
<pre>persam learn mug.jpg mug_mask.png --tune -o mug.safetensors
persam segment mug.safetensors photos/ -o found --overlay --sheet</pre>
<p class="soft">The photographs ship with scikit-image; scenes are put together from them when the demo runs. Only the
motorcycle's other camera is a photo as it was taken: the second of a stereo pair.</p>
{views}
</body></html>
"""

SECTION = """<section><h2>{thing}</h2><div class="cards">
{cards}
</div></section>"""

REFERENCE = """<figure class="reference"><img alt="{thing}: the reference and its mask" src="{picture}">
<figcaption><span class="name">the reference</span><br><small>learned in {learn}, tuned in {tune};<br>
scale weights {weights}</small></figcaption></figure>"""

CARD = """<figure id="{id}"><a href="#view-{id}"><img alt="{name}: {verdict}" src="{picture}"></a>
<figcaption><span class="verdict {kind}">{verdict}</span><span class="name">{name}</span><br>
<small>truth: {truth} · score {score}<br>{ious}</small></figcaption></figure>"""

VIEW = """<a class="view" id="view-{id}" href="#{id}"><img loading="lazy" alt="the way to the mask: {name}"
src="{picture}"></a>"""
