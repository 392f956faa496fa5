"""What the kernel "TF1 course" imports as `tensorflow`: the real TensorFlow 2, with the names and the ways of TensorFlow 1.

The kernel's PYTHONPATH leads here before it leads to the real package, for notebooks and for what they start with `!python` alike.
Nothing is hooked or copied: this module loads the real package, changes it in memory and leaves its own place to it.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType

HERE = os.path.dirname(os.path.abspath(__file__))


class Contrib(ModuleType):
    """What is left of `tf.contrib`, which TensorFlow 2 has thrown out. It says so where a course asks for more."""

    def __getattr__(self, name: str) -> object:
        here = ", ".join(one for one in vars(self) if not one.startswith("_"))
        raise AttributeError(f"{self.__name__}.{name} ended with TensorFlow 1, and the TF1 course kernel has only these of it: {here}.")


def real_package() -> ModuleType:
    """Load the package that this file stands before; from then on it is `tensorflow`."""
    spec = PathFinder.find_spec("tensorflow", [path for path in sys.path if os.path.abspath(path) != HERE])
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    module = sys.modules["tensorflow"] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_tf1(tf: ModuleType) -> None:
    """Give a TensorFlow 2 the names and the ways of TensorFlow 1, and what its notebooks used of `tf.contrib`."""
    v1 = tf.compat.v1
    # Every second line of such a notebook would print in red that it is deprecated.
    v1.logging.set_verbosity(v1.logging.ERROR)
    warnings.filterwarnings("ignore", message=r"`tf\.layers\.")
    v1.disable_v2_behavior()
    vars(tf).update({name: getattr(v1, name) for name in dir(v1) if not name.startswith("_")})
    tf.train.import_meta_graph = old_graphs_too(tf)
    layers = Contrib("tensorflow.contrib.layers")
    vars(layers).update(contrib_layers(tf))
    tf.contrib = Contrib("tensorflow.contrib")
    tf.contrib.layers = layers
    sys.modules.update({module.__name__: module for module in (tf.contrib, layers)})


def contrib_layers(tf: ModuleType) -> dict[str, object]:
    """Return the parts of `tf.contrib.layers`."""
    return {
        "flatten": lambda inputs, outputs_collections=None, scope=None: tf.layers.flatten(inputs, name=scope),
        "l1_regularizer": lambda scale, scope=None: lambda weights: scale * tf.reduce_sum(tf.abs(weights)),
        "l2_regularizer": lambda scale, scope=None: lambda weights: scale * tf.nn.l2_loss(weights),
        "xavier_initializer": lambda uniform=True, seed=None, dtype=tf.float32: (
            tf.glorot_uniform_initializer if uniform else tf.glorot_normal_initializer
        )(seed=seed, dtype=dtype),
    }


def old_graphs_too(tf: ModuleType) -> object:
    """Return `import_meta_graph` for files of 2018: the shapes that they note of some operations are not those of today's."""
    import_meta_graph = tf.train.import_meta_graph

    def import_old(meta_graph_or_file, *args, **kwargs):
        if not isinstance(meta_graph_or_file, (str, os.PathLike)):
            return import_meta_graph(meta_graph_or_file, *args, **kwargs)
        with tf.gfile.GFile(os.fspath(meta_graph_or_file), "rb") as file:
            graph = tf.MetaGraphDef.FromString(file.read())
        for node in graph.graph_def.node:
            if "_output_shapes" in node.attr:
                del node.attr["_output_shapes"]
        return import_meta_graph(graph, *args, **kwargs)

    return import_old


# Read when TensorFlow is loaded: Keras 2, which the layers of TensorFlow 1 are a part of, and no notes on the processor in a notebook.
os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
make_tf1(real_package())
