# SPDX-License-Identifier: GPL-2.0
"""Pictures of what was measured beside the C driver, for report.py: all rows, and a small one for the README."""

# Units of which less is better.
LESS = ('us', 'ns/packet', 's', 'B', 'x')
COLOURS = {'c': '#8a8a8a', 'ours': '#b7410e', 'go': '#6ba3c7'}
NAMES = {'c': 'C driver', 'ours': 'wireguard_rs', 'go': 'wireguard-go'}

# Of the small one: row of the instruction clock, what it is called there.
GLANCE = {
    'TCP, 1 stream': 'TCP, one stream',
    'UDP, 64 B': 'UDP, 64 bytes, packets',
    'ping, median': 'ping, round trip',
    'memory of an idle peer, of 10,000': 'memory of an idle peer',
    'delete the interface with 11,000 peers': 'deleting 11,000 peers',
}


def plotting():
    """What draws, into files that are equal if the figures are."""
    import matplotlib
    matplotlib.use('svg')
    matplotlib.rcParams['svg.hashsalt'] = 'wireguard_rs'
    matplotlib.rcParams['svg.fonttype'] = 'none'
    import matplotlib.pyplot
    return matplotlib.pyplot


def better(entry, driver):
    """How many times as good as the C driver; None if that was not measured."""
    ratio = 1 if driver == 'c' else entry.get(f'{driver}/c')
    if not ratio or ratio <= 0:
        return None
    return 1 / ratio if entry['unit'] in LESS else ratio


def legend(plot, *drivers):
    """Rectangles, and whose they are."""
    return [plot.Rectangle((0, 0), 1, 1, color=COLOURS[d]) for d in drivers], [NAMES[d] for d in drivers]


def all_rows(summary, path, about, title):
    """Bars of what each is worth beside the C driver: longer is better."""
    plot = plotting()
    shown = {}
    for entry in summary:
        if 'ours/c' in entry:
            shown.setdefault(entry['clock'], []).append(entry)
    counts = [len(entries) for entries in shown.values()]
    figure, all_axes = plot.subplots(len(counts), 1, figsize=(10, 1.6 + 0.34 * sum(counts)), squeeze=False,
                                     gridspec_kw={'height_ratios': counts}, layout='constrained')
    for axes, (clock, entries) in zip(all_axes[:, 0], shown.items()):
        for n, entry in enumerate(entries):
            for driver, at in (('ours', n - 0.18), ('go', n + 0.18)):
                value = better(entry, driver)
                if value is None:
                    continue
                axes.barh(at, value, height=0.34, color=COLOURS[driver])
                axes.annotate(f'{value:.2f}' if value < 20 else f'{value:.0f}', (max(value, 0.05), at), fontsize=7,
                              va='center', xytext=(3, 0), textcoords='offset points')
        axes.set_yticks(range(len(entries)), [e['row'] for e in entries], fontsize=8)
        axes.invert_yaxis()
        axes.set_xscale('log')
        axes.axvline(1, color='black', linewidth=1)
        axes.margins(y=0.01)
        axes.set_title(title(clock), fontsize=10, loc='left')
        axes.set_xlabel('times as good as the C driver (1.00: the line), logarithmic', fontsize=8)
    figure.legend(*legend(plot, 'ours', 'go'), loc='outside upper right', ncols=2, fontsize=8)
    figure.suptitle(about, fontsize=9, x=0.01, ha='left')
    figure.savefig(path, metadata={'Date': None})


def words(unit, value):
    """A value as a person says it."""
    if unit == 'us':
        return f'{value:.0f} µs'
    if unit == 's':
        return f'{1000 * value:.0f} ms'
    if unit == 'B':
        return f'{value / 1024:.1f} KiB'
    if unit == 'packets/s':
        return f'{value / 1000:.1f} k/s'
    return f'{value:.0f} {unit}'


def glance(summary, path, about):
    """The small one, if its rows were measured; the C driver's bars are 1."""
    found = {e['row']: e for e in summary if e['clock'] == 'icount' and 'ours/c' in e}
    rows = [found[row] for row in GLANCE if row in found]
    if not rows:
        return
    plot = plotting()
    figure, axes = plot.subplots(figsize=(7, 3.6), layout='constrained')
    # White, so that it can be read on a dark page as well.
    figure.set_facecolor('white')
    for n, entry in enumerate(rows):
        for driver, at in (('c', n - 0.26), ('ours', n), ('go', n + 0.26)):
            value = better(entry, driver)
            if value is None:
                continue
            axes.barh(at, value, height=0.25, color=COLOURS[driver])
            axes.annotate(words(entry['unit'], entry[driver]['median']), (value, at), fontsize=7, va='center', xytext=(3, 0),
                          textcoords='offset points')
    axes.set_yticks(range(len(rows)), [GLANCE[e['row']] for e in rows], fontsize=9)
    axes.invert_yaxis()
    axes.set_xscale('log')
    axes.axvline(1, color='black', linewidth=0.8)
    axes.margins(x=0.12, y=0.02)
    axes.set_xlabel('times as good as the C driver, logarithmic: longer is better', fontsize=8)
    axes.legend(*legend(plot, 'c', 'ours', 'go'), fontsize=8, loc='upper right')
    axes.set_title(f'Work, counted in instructions, {about}', fontsize=8, loc='left')
    figure.savefig(path, metadata={'Date': None})
