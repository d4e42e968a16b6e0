"""Translation.

edgevision train translator --data multi30k --out runs/de-en
edgevision train translator --data multi30k --variant en-de --out runs/en-de
"""

from edgevision.training.translating import PairRecipe

RECIPES = {"": PairRecipe()}
