"""Language models on text.

edgevision train decoder_lm --data tiny-shakespeare --out runs/shakespeare
    nanoGPT's CPU setting (4 layers, 128 wide, context 64, 2,000 steps of 12 rows) with rotary positions,
    SwiGLU and a higher learning rate, 746,880 parameters: held-out loss 1.737, perplexity 5.68; nanoGPT's
    README has 1.88 with 0.80 million. 322 s on cores that other programs used too; on a Mac with an M2 we
    expect about 1 minute (an estimate, not measured).
edgevision train decoder_lm --variant llama-6x384 --data tiny-shakespeare --out runs/shakespeare-large
    its GPU setting (6 layers, 384 wide, context 256, 5,000 steps of 64 rows); the mark is nanoGPT's 1.47. It
    is for a GPU and was not run by us; on a Mac with an M2 Pro we expect 1 to 2 hours (an estimate). gpt2 and
    gpt2-6x384 are nanoGPT's own architecture.
"""

from edgevision.training.language import TextRecipe

_LARGER = TextRecipe(steps=5000, batch_size=64, learning_rate=1e-3, floor=0.1, warmup=0.02)
RECIPES = {
    "": TextRecipe(),
    "llama": TextRecipe(learning_rate=6e-3),
    "gpt2-6x384": _LARGER,
    "llama-6x384": _LARGER,
    "gpt2-124m": TextRecipe(steps=100_000, batch_size=32, learning_rate=6e-4, floor=0.1, warmup=0.02),
}
