"""Pictures of curves, by gnuplot."""
import subprocess
import sys


def draw(file, title, x, y, curves, more=""):
    """An .svg file.  curves: (name, colour, [(x, y)], gnuplot's words for its style); more: gnuplot's commands before the plot."""
    blocks = "".join("".join(f"{a} {b}\n" for a, b in points) + "e\n" for _, _, points, _ in curves)
    plots = ", ".join(f"'-' using 1:2 with {style} linewidth 2 linecolor '{color}' title '{name}' noenhanced" for name, color, _, style in curves)
    script = f"""set terminal svg size 720,440 font 'sans,13' background '#ffffff'
set output '{file}'
set title '{title}'
set xlabel '{x}'
set ylabel '{y}'
set grid
{more}
plot {plots}
{blocks}"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    print(f"picture: {file}", file=sys.stderr)
