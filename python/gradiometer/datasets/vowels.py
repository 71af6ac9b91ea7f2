"""Japanese vowels: who speaks, from an utterance of 7 to 29 frames.

Japanese Vowels, M. Kudo, J. Toyama and M. Shimbo, 1999, UCI Machine Learning Repository,
https://doi.org/10.24432/C5NS47, licensed under Creative Commons Attribution 4.0 International (CC BY 4.0),
https://creativecommons.org/licenses/by/4.0/. Described in "Multidimensional curve classification using
passing-through regions", Pattern Recognition Letters 20 (1999), 1103-1111. Changes: stored as whole millionths (the
published values have six decimals), three bytes each in planes, and compressed; a part of the training utterances is
put aside for validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gradiometer.datasets.splits import Samples, Splits, Standard
from gradiometer.sequences import Sequences

__all__ = ["vowels"]

_TRAIN, _SPEAKERS, _EACH, _HELD = 270, 9, 30, 5


def vowels() -> Splits:
    """Utterances of the vowels "ae" by nine speakers: 12 cepstrum coefficients, 7 to 29 frames (Kudo 1999, CC BY 4.0).

    The published 270 utterances for training, of which the last but one of every six is put aside for validation, and
    the published 370 for test. Standardised by the frames of the training part. The task: who speaks.

    Returns
    -------
    Splits
        x Sequences of float32 (N, 29, 12), y int64 (N), 225, 45 and 370 of them.

    Examples
    --------
    >>> data = vowels()
    >>> data.train.x
    Sequences(225 of 7 to 26 steps x 12, float32)
    >>> print(data)
    vowels 640 sequences of 7 to 29 steps x12 standardised (225 train, 45 validation, 370 test)
    """
    with np.load(Path(__file__).with_name("vowels.npz"), allow_pickle=False) as file:
        low, middle, high = file["planes"].astype(np.int32)
        lengths, speakers = file["lengths"].astype(np.int64), file["speaker"].astype(np.int64)
    frames = ((low + (middle << 8) + (high << 16) - 2**23) / 1e6).T
    held = np.zeros(len(speakers), np.bool_)
    held[:_TRAIN].reshape(_SPEAKERS, _EACH)[:, _EACH // _HELD - 2 :: _EACH // _HELD] = True
    chosen = np.arange(len(speakers))
    parts = [chosen[:_TRAIN][~held[:_TRAIN]], chosen[held], chosen[_TRAIN:]]
    starts = np.cumsum(lengths) - lengths
    standard = Standard.of(np.concatenate([frames[starts[i] : starts[i] + lengths[i]] for i in parts[0]]))
    padded = np.zeros((len(speakers), int(lengths.max()), frames.shape[1]), np.float32)
    for row, start, length in zip(padded, starts, lengths, strict=True):
        row[:length] = standard.apply(frames[start : start + length])
    train, val, test = (Samples(Sequences(padded[part], lengths[part]), speakers[part]) for part in parts)
    return Splits(
        train=train,
        val=val,
        test=test,
        name="vowels",
        task="classification",
        classes=tuple(f"speaker {i}" for i in range(1, _SPEAKERS + 1)),
        features=tuple(f"cepstrum {i}" for i in range(1, frames.shape[1] + 1)),
        mean=standard.mean,
        scale=standard.scale,
        target_mean=np.empty(0),
        target_scale=np.empty(0),
    )
