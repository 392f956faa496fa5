"""The scans of the course: slices of a head in four channels, and where in them the tumour is.

Each patient has a folder with two files, which are mapped into memory and not read as a whole: `dat.npy` holds 16-bit numbers,
`lbl.npy` bytes, 1 where there is tumour.
"""
import os

import numpy as np

PLACES = ["/data/brats/npy", "../data"]  # the machine's own data, or what lies beside the notebooks
PATIENTS, SLICES, SIZE, CHANNELS = 8, 12, 32, 4


def place():
    """Return the first folder that has scans; draw them beside the notebooks where none has."""
    for folder in PLACES:
        if os.path.exists(os.path.join(folder, "patient-0", "lbl.npy")):
            return folder
    for patient in range(PATIENTS):
        draw(os.path.join(PLACES[-1], "patient-%i" % patient), np.random.RandomState(patient))
    return PLACES[-1]


def draw(folder, random):
    """Draw a patient: a bright head in every slice, and in every second one a disc that the channels show unequally."""
    y, x = np.mgrid[:SIZE, :SIZE]
    data = random.normal(100, 20, (SLICES, SIZE, SIZE, CHANNELS))
    data[:, np.hypot(y - SIZE / 2, x - SIZE / 2) < SIZE / 2 - 2] += 200
    label = np.zeros((SLICES, SIZE, SIZE, 1), "uint8")
    for one in range(0, SLICES, 2):
        row, column = random.randint(10, SIZE - 10, 2)
        label[one, np.hypot(y - row, x - column) < random.randint(4, 7)] = 1
    data += label * np.array([40, 250, -40, 150])
    if not os.path.isdir(folder):
        os.makedirs(folder)
    for name, array, kind in (("dat", data, "int16"), ("lbl", label, "uint8")):
        file = np.memmap(os.path.join(folder, name + ".npy"), dtype=kind, mode="w+", shape=array.shape)
        file[:] = array
        file.flush()


def patient(number):
    """Map one patient's two files."""
    folder = os.path.join(place(), "patient-%i" % number)
    data = np.memmap(os.path.join(folder, "dat.npy"), dtype="int16", mode="r").reshape(-1, SIZE, SIZE, CHANNELS)
    label = np.memmap(os.path.join(folder, "lbl.npy"), dtype="uint8", mode="r").reshape(-1, SIZE, SIZE, 1)
    return data, label


def slices(test=False):
    """Yield slices without end, each with its label: of the last patient for a test, of all others to learn from."""
    while True:
        number = PATIENTS - 1 if test else np.random.randint(PATIENTS - 1)
        data, label = patient(number)
        one = np.random.randint(len(data))
        yield (data[one] - 250.0) / 100.0, label[one, ..., 0]
