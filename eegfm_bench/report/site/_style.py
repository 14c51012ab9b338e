"""How the pages look: one style for screens, phones, dark rooms and paper.

From: nothing. To: every page, inline, so that each stands alone.
"""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --raised: #f5f7fa; --ink: #1b2230;
  --soft: #505b70; --rule: #d9dfe8; --strong: #1b2230; --accent: #2457c5;
  --warm: #b04a00; --warn: #fff2d1; --bad: #a3273d; --deep: 58%; }
@media (prefers-color-scheme: dark) { :root { --paper: #12161e; --raised: #1a202b;
  --ink: #e4e8f0; --soft: #a5afc2; --rule: #323b4b; --strong: #8a95aa;
  --accent: #8db1ff; --warm: #ffb066; --warn: #3a2e0c; --bad: #ff98a8;
  --deep: 44%; } }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; }
body { margin: 0 auto; padding: 1.25rem clamp(.9rem, 3vw, 2rem) 3rem;
  max-width: 84rem; background: var(--paper); color: var(--ink); line-height: 1.5;
  font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; }
a { color: var(--accent); text-underline-offset: .18em; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; }
.skip:focus { left: 1rem; top: .5rem; padding: .4rem .8rem; background: var(--paper); }
h1 { margin: .2rem 0 .8rem; font-size: 1.6rem; line-height: 1.25; }
h2 { margin: 2.4rem 0 .6rem; font-size: 1.22rem; line-height: 1.3; }
h3 { margin: 1.1rem 0 .3rem; font-size: 1rem; }
p { margin: .4rem 0 .8rem; max-width: 52rem; }
.banner { padding: .55rem .9rem; font-weight: 600; background: var(--warn);
  border-left: 4px solid var(--warm); }
.problem { padding: .45rem .9rem; border-left: 4px solid var(--bad);
  overflow-wrap: anywhere; }
.tag { padding: .05rem .5rem; background: var(--warn); border-radius: 1rem;
  font-weight: 600; white-space: nowrap; }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem .5rem; margin: .4rem 0 1rem;
  padding: 0; list-style: none; }
nav a { display: inline-block; padding: .2rem .65rem; border: 1px solid var(--rule);
  border-radius: 1rem; text-decoration: none; }
nav a:hover { border-color: var(--accent); }
nav a[aria-current] { background: var(--accent); color: var(--paper);
  border-color: var(--accent); }
.aside, .notes, .standing, figcaption p, footer { color: var(--soft);
  font-size: .88rem; }
.notes { max-width: 56rem; padding-left: 1.1rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; max-width: 100%; margin: .5rem 0; }
table { border-collapse: collapse; font-size: .88rem;
  font-variant-numeric: tabular-nums; }
caption { text-align: left; position: absolute; width: 1px; height: 1px;
  overflow: hidden; clip-path: inset(50%); }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap; }
th { font-weight: 600; color: var(--soft); }
thead tr:last-child th, thead th.stub { border-bottom: 1.5px solid var(--strong); }
thead tr:first-child th { border-top: 1.5px solid var(--strong); }
tbody tr:last-child > * { border-bottom: 1.5px solid var(--strong); }
th.group { text-align: left; color: var(--ink); }
th.group small { display: block; font-weight: 400; color: var(--warm); }
th.stub, tbody th, td.label { text-align: left; vertical-align: baseline; }
th.stub { vertical-align: bottom; }
thead th:first-child:not(.plain) { text-align: left; }
td.label { color: var(--soft); }
tbody th { color: var(--ink); }
.results th, .results td { padding: .28rem .5rem; }
.results tr > th:first-child:not(.group):not(.plain) { position: sticky; left: 0; }
.results tr, .results tr > th:first-child { background: var(--paper); }
.results tbody tr:nth-child(even), .results tbody tr:nth-child(even) > th {
  background: var(--raised); }
td.first, th.first { border-left: 1px solid var(--rule); }
td.absent { color: var(--bad); text-align: center; white-space: normal;
  min-width: 9rem; }
td.words { text-align: center; }
tr.gloss td, tr.gloss th { color: var(--soft); font-size: .82rem;
  padding-top: 0; border-top: 0; }
td a { color: inherit; text-decoration: none; }
td a:hover, td a:focus { color: var(--accent); text-decoration: underline; }
.sd { color: var(--soft); font-weight: 400; }
table.text td { text-align: left; white-space: pre-wrap; overflow-wrap: anywhere;
  min-width: 8rem; }
section.card { margin-top: 2.2rem; padding-top: .2rem;
  border-top: 1.5px solid var(--rule); }
section.card > h2 { margin-top: 1rem; }
.figures { display: grid; gap: 1rem 2rem; margin: .6rem 0 1rem;
  grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr)); }
figure { margin: 0; min-width: 0; }
figcaption h3 { margin-bottom: 0; }
figcaption p { margin: .1rem 0 .5rem; }
svg { display: block; width: 100%; max-width: 25rem; height: auto; overflow: visible; }
svg text { fill: var(--soft); font-size: 11px; text-anchor: middle; }
svg .end { text-anchor: end; }
svg path { fill: none; }
svg .rule { stroke: var(--rule); stroke-width: 1; }
svg .chance { stroke: var(--warm); stroke-width: 1.5; stroke-dasharray: 4 3; }
svg .ideal { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 4 4; }
svg .dots { stroke: var(--accent); stroke-width: 6; stroke-linecap: round;
  opacity: .55; }
svg .mean { stroke: var(--ink); stroke-width: 2; }
svg .bars { stroke: var(--accent); stroke-width: 12; opacity: .35; }
svg .line { stroke-width: 1.6; stroke-linejoin: round; }
svg .val { stroke: var(--accent); }
svg .train { stroke: var(--ink); opacity: .7; }
svg .val-loss { stroke: var(--accent); stroke-dasharray: 5 3; }
svg .ring { fill: var(--paper); stroke: var(--warm); stroke-width: 2; }
.confusion { font-size: .82rem; }
.confusion td, .confusion th { padding: .25rem .45rem; text-align: center;
  border: 1px solid var(--paper); }
.confusion tbody th { text-align: right; }
.confusion td { min-width: 2.9rem; background: color-mix(in srgb,
  var(--accent) calc(var(--deep) * var(--n, 0)), var(--raised)); }
.confusion thead th, .confusion tbody tr > * { border-color: var(--paper); }
.many td { padding: .2rem .3rem; min-width: 2.5rem; }
.many thead th:not(:first-child) { writing-mode: vertical-rl; transform: rotate(180deg);
  text-align: left; padding: .45rem .2rem; border: 0; }
@media (min-width: 46rem) { figure.broad { grid-column: span 2; } }
.confusion small { display: block; font-size: .7rem; opacity: .85; }
.s1 { --n: .1; } .s2 { --n: .2; } .s3 { --n: .3; } .s4 { --n: .4; } .s5 { --n: .5; }
.s6 { --n: .6; } .s7 { --n: .7; } .s8 { --n: .8; } .s9 { --n: .9; } .s10 { --n: 1; }
dl { display: grid; gap: .25rem 1.6rem; margin: .4rem 0 .8rem; font-size: .9rem;
  grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)); }
dl div { min-width: 0; }
dt { color: var(--soft); font-size: .8rem; }
dd { margin: 0; overflow-wrap: anywhere; }
details { margin: .3rem 0; font-size: .9rem; }
summary { cursor: pointer; color: var(--soft); padding: .15rem 0; }
pre { margin: .4rem 0; padding: .7rem .9rem; overflow: auto; max-height: 26rem;
  background: var(--raised); font-size: .8rem; }
code { font-size: .85em; overflow-wrap: anywhere; }
footer { margin-top: 3rem; padding-top: .6rem; border-top: 1px solid var(--rule); }
@media print { :root { color-scheme: light; --paper: #fff; --raised: #f5f7fa;
    --ink: #1b2230; --soft: #505b70; --rule: #d9dfe8; --strong: #1b2230;
    --accent: #2457c5; --warm: #b04a00; --warn: #fff2d1; --bad: #a3273d;
    --deep: 58%; }
  body { max-width: none; padding: 0; font-size: 9.5pt; }
  nav, .skip { display: none; }
  .wide, pre { overflow: visible; max-height: none; }
  .results th, .results td { padding: .15rem .3rem; font-size: 7.5pt; }
  .confusion td, .banner, .tag { print-color-adjust: exact; }
  figure, tr, dl div { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  details::details-content { content-visibility: visible; height: auto; } }
"""
