"""LeNet on digits.

edgevision train lenet --data mnist --out runs/lenet              8 epochs: under 0.7 % test error, 90 s on
                                                                  2 CPU cores
edgevision train lenet --variant 1998 --out runs/lenet-1998       the paper's network, 14 epochs: under 1 %,
                                                                  340 s on 2 CPU cores

A Mac with an M2 would take about 1 minute and 3 minutes: an estimate from the number of steps, which are too
small for its GPU to be busy, for no Mac was at hand.
"""

from edgevision.training.recipe import Recipe

_DIGITS = Recipe(turn=0.15, stretch=0.1, shift=1.5)
RECIPES = {"": _DIGITS, "1998": Recipe(epochs=14, turn=0.15, stretch=0.1, shift=1.5)}
