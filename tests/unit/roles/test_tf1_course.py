"""What the TF1 course kernel imports as `tensorflow`, before a stand-in for TensorFlow 2 that only notes what is asked of it."""

import subprocess
import sys
from pathlib import Path

import pytest

SHIM = Path(__file__).parents[3] / "roles/jupyter/files/tf1_course"
# A TensorFlow 2 as far as the shim touches it. The graph file is a Python literal: the attributes of each operation.
STAND_IN = """
import os, sys
from types import ModuleType, SimpleNamespace as Names
KERAS_WHEN_LOADED = os.environ.get("TF_USE_LEGACY_KERAS")
said = []
class MetaGraph:
    def __init__(self, nodes): self.graph_def = Names(node=[Names(attr=attr) for attr in nodes])
    FromString = classmethod(lambda cls, data: cls(eval(data.decode())))
def import_meta_graph(graph, clear_devices=False):
    return [sorted(node.attr) for node in graph.graph_def.node] if isinstance(graph, MetaGraph) else graph
v1 = ModuleType("tensorflow.compat.v1")
vars(v1).update(
    Session="a session", __version__="1", float32="float32", MetaGraphDef=MetaGraph,
    disable_v2_behavior=lambda: said.append("version 1"),
    logging=Names(ERROR=40, set_verbosity=said.append),
    train=Names(import_meta_graph=import_meta_graph),
    gfile=Names(GFile=open),
    layers=Names(flatten=lambda inputs, name: (inputs, name)),
    nn=Names(l2_loss=lambda weights: sum(w * w for w in weights) / 2),
    abs=lambda weights: [max(w, -w) for w in weights], reduce_sum=sum,
    glorot_uniform_initializer=lambda seed, dtype: ("uniform", seed), glorot_normal_initializer=lambda seed, dtype: ("normal", seed),
)
compat, data, __version__ = Names(v1=v1), "version 2", "2.21.0"
"""


@pytest.fixture
def ask(tmp_path):
    """Return a function that runs code in a Python like the kernel's, and gives what it prints."""
    package = tmp_path / "site/tensorflow"
    (package / "keras").mkdir(parents=True)
    (package / "__init__.py").write_text(STAND_IN)
    (package / "keras/__init__.py").write_text("from tensorflow import Session")

    def run(code: str, path: str = f"{SHIM}:{tmp_path}/site", rc: int = 0) -> str:
        python = [sys.executable, "-B", "-c", code]
        done = subprocess.run(python, env={"PYTHONPATH": path}, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == rc, done.stderr
        return (done.stdout or done.stderr).strip()

    return run


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("import tensorflow as tf; print(tf.Session, tf.data, tf.__version__)", "a session version 2 2.21.0"),
        ("import tensorflow as tf, sys; print(tf is sys.modules['tensorflow'], tf.__file__.split('/')[-2])", "True tensorflow"),
        ("import tensorflow as tf; print(tf.said, tf.KERAS_WHEN_LOADED)", "[40, 'version 1'] 1"),
        ("from tensorflow import Session; print(Session)", "a session"),
        ("import tensorflow.keras as keras; print(keras.Session)", "a session"),
        ("import sys; before = sys.path[:]; import tensorflow; print(sys.path == before)", "True"),
        ("from tensorflow.contrib.layers import flatten; print(flatten([1], scope='flat'))", "([1], 'flat')"),
        ("import tensorflow.contrib.layers as layers; print(layers.l2_regularizer(0.5)([2, -4]))", "5.0"),
        ("import tensorflow as tf; print(tf.contrib.layers.l1_regularizer(0.5)([2, -4]))", "3.0"),
        ("import tensorflow as tf; print(tf.contrib.layers.xavier_initializer(False, seed=3))", "('normal', 3)"),
        ("import tensorflow as tf; print(tf.train.import_meta_graph('a graph'.__len__))", "<method-wrapper '__len__' of str object"),
    ],
)
def test_a_notebook_gets_the_first_version_of_the_second(ask, code, answer):
    assert ask(code).startswith(answer)


def test_shapes_that_an_old_graph_notes_are_not_held_against_it(ask, tmp_path):
    (tmp_path / "model.meta").write_text("[{'T': 1, '_output_shapes': 2}, {}]")
    assert ask("import tensorflow as tf; print(tf.train.import_meta_graph('model.meta', clear_devices=True))") == "[['T'], []]"


def test_what_is_not_there_is_said(ask):
    said = ask("import tensorflow as tf; tf.contrib.slim", rc=1)
    assert said.endswith("tensorflow.contrib.slim ended with TensorFlow 1, and the TF1 course kernel has only these of it: layers.")
    said = ask("import tensorflow as tf; tf.contrib.layers.embed", rc=1)
    assert said.endswith("only these of it: flatten, l1_regularizer, l2_regularizer, xavier_initializer.")


def test_without_tensorflow_python_says_what_it_always_says(ask):
    assert ask("import tensorflow", path=str(SHIM), rc=1).endswith("ModuleNotFoundError: No module named 'tensorflow'")


def test_elsewhere_tensorflow_is_as_it_was(ask, tmp_path):
    code = "import tensorflow as tf; print(hasattr(tf, 'Session'), hasattr(tf, 'contrib'), tf.said, tf.KERAS_WHEN_LOADED)"
    assert ask(code, path=f"{tmp_path}/site") == "False False [] None"
