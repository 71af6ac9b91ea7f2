"""Draws plain data (a terminal screen, charts, an HTML page) and knows no class of the layers above it.

Terminal, ``gradiometer.report.text``::

    style = Style.for_stream(sys.stdout)              colour only where it is wanted; Style() is plain
    print(verdicts([Verdict("FAIL", "vanishing-gradient", where="layers 1-50",
                            evidence=("|dL/dh| shrinks x0.234 a layer",))], style=style))
    table = Table([Column("layer"), Column("|dL/dh|", scientific), Column("name", align="left")], rows)
    print(table.text(style=style, keep=fold([50, 49, 48, ...])))       "44 layers folded: --all"
    scientific(0.019) times(0.2341) interval(0.2301, 0.2379) percent(0.003) score(0.979) spans([1, 2, 3, 7])
    bar(value, low, high)    heading("cures", style)    wrap(prose)

Charts, ``gradiometer.report.chart`` and ``report.heat``; ``.svg(width)`` gives one ``<svg>`` element as a string::

    LineChart("Gradient by layer", [Series("measured", x, y), Series("theory", x, t, "dashed")],
              x_label="layer", y_label="|dL/dh|", log=True, levels=[Level(1.2e-38, "float32 normal")]).svg()
    BarChart("Test accuracy", [Bar("batch norm", 0.969, low=0.951, high=0.987)], limits=(0, 1)).svg()
    HeatMap("Gradient over time", steps, [1, 2], [[1e-3, 1.0], [1e-4, 0.1]], names=["LSTM 1", "LSTM 2"]).svg()

Page, ``gradiometer.report.page``; a part with a `heading` opens a section, one without continues it::

    Page("64-[128]x50-10", [Verdict(...), Prose("text", heading="Why"), Chart(LineChart(...), note="..."),
         TableSection(table, "Layers"), Code("gm.mlp(...)", "Gradiometer"), Facts([("samples", "256")]),
         Details("All layers", [TableSection(table, "Layers")])]).save("report.html")

Notebook, ``gradiometer.report.notebook``: ``fragment(title, lines, charts, table, caption)``, for ``_repr_html_``.
One SVG file with its own background and colours, ``gradiometer.report.picture``: ``picture(chart, note)``.
For matplotlib, `gradiometer.plotting` draws the same charts.

The same `Verdict` and `Table` serve the terminal and the page. Every text may hold anything (it is escaped,
and control characters are replaced); NaN, infinities, zeros and empty series are drawn as what they are.
"""

from gradiometer.report import chart, heat, notebook, page, picture, text

__all__ = ["chart", "heat", "notebook", "page", "picture", "text"]
