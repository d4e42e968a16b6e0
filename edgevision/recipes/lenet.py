"""LeNet on digits.

edgevision train lenet --data mnist --out runs/lenet             8 epochs: under 0.7 % test error
edgevision train lenet --variant 1998 --out runs/lenet-1998      the paper's network, 14 epochs: under 1 %
"""

from edgevision.training.recipe import Recipe

_DIGITS = Recipe(turn=0.15, stretch=0.1, shift=1.5)
RECIPES = {"": _DIGITS, "1998": Recipe(epochs=14, turn=0.15, stretch=0.1, shift=1.5)}
