# SPDX-License-Identifier: GPL-2.0
"""The README's small picture: five rows of the instruction clock, beside the C driver."""

# Row, what it is called there, whether more of it is better.
ROWS = (
    ('TCP, 1 stream', 'TCP, one stream', True),
    ('UDP, 64 B', 'UDP, 64 bytes, packets', True),
    ('ping, median', 'ping, round trip', False),
    ('memory of an idle peer, of 10,000', 'memory of an idle peer', False),
    ('delete the interface with 11,000 peers', 'deleting 11,000 peers', False),
)


def texts(unit, value):
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


def bars(summary):
    """(name, [(driver, times as good as C, text)]) of the rows that were measured; the C driver is 1."""
    found = {e['row']: e for e in summary if e['clock'] == 'icount'}
    for row, name, more in ROWS:
        entry = found.get(row)
        if not entry or not {'c', 'ours'} <= entry.keys():
            continue
        c = entry['c']['median']
        yield name, [(driver, value / c if more else c / value, texts(entry['unit'], value))
                     for driver in ('c', 'ours', 'go') if driver in entry for value in (entry[driver]['median'],)]


def picture(summary, path, about):
    """Draws them, if there is one."""
    rows = list(bars(summary))
    if not rows:
        return
    import matplotlib
    matplotlib.use('svg')
    matplotlib.rcParams['svg.hashsalt'] = 'wireguard_rs'
    matplotlib.rcParams['svg.fonttype'] = 'none'
    import matplotlib.pyplot as plot

    drivers = (('c', 'C driver', '#8a8a8a'), ('ours', 'wireguard_rs', '#b7410e'), ('go', 'wireguard-go', '#6ba3c7'))
    figure, axes = plot.subplots(figsize=(7, 3.6), layout='constrained')
    # White, so that it can be read on a dark page as well.
    figure.set_facecolor('white')
    for n, (_, values) in enumerate(rows):
        for driver, better, text in values:
            at = n + 0.26 * ([d for d, *_ in drivers].index(driver) - 1)
            axes.barh(at, better, height=0.25, color=next(c for d, _, c in drivers if d == driver))
            axes.annotate(text, (better, at), fontsize=7, va='center', xytext=(3, 0), textcoords='offset points')
    axes.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=9)
    axes.invert_yaxis()
    axes.set_xscale('log')
    axes.axvline(1, color='black', linewidth=0.8)
    axes.margins(x=0.12, y=0.02)
    axes.set_xlabel('times as good as the C driver, logarithmic: longer is better', fontsize=8)
    axes.legend([plot.Rectangle((0, 0), 1, 1, color=c) for *_, c in drivers], [name for _, name, _ in drivers], fontsize=8, loc='upper right')
    axes.set_title(f'Work, counted in instructions, {about}', fontsize=8, loc='left')
    figure.savefig(path, metadata={'Date': None})
