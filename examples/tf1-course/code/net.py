"""The networks of the course, in the layers of TensorFlow 1."""
import os

import tensorflow as tf

import scans


def batches(size, test=False):
    """Return the tensors of the next batch: slices and labels."""
    shapes = [scans.SIZE, scans.SIZE, scans.CHANNELS], [scans.SIZE, scans.SIZE]
    data = tf.data.Dataset.from_generator(lambda: scans.slices(test), output_types=(tf.float32, tf.int32), output_shapes=shapes)
    return data.batch(size).prefetch(4).make_one_shot_iterator().get_next()


def block(layer, filters, training, name):
    """Convolve, normalize, activate."""
    with tf.variable_scope(name):
        layer = tf.layers.conv2d(
            layer, filters, kernel_size=(3, 3), padding="same", name="conv",
            kernel_initializer=tf.contrib.layers.xavier_initializer(), kernel_regularizer=tf.contrib.layers.l2_regularizer(1e-4))
        layer = tf.layers.batch_normalization(layer, training=training, momentum=0.8, name="norm")
        return tf.nn.relu(layer, name="relu")


def classifier(X, training):
    """Return two numbers for each slice: how much speaks against a tumour, and for one."""
    layer = block(X, 8, training, "first")
    layer = tf.layers.max_pooling2d(layer, pool_size=(2, 2), strides=(2, 2))
    layer = block(layer, 16, training, "second")
    layer = tf.layers.max_pooling2d(layer, pool_size=(4, 4), strides=(4, 4))
    layer = tf.layers.dropout(tf.contrib.layers.flatten(layer), rate=0.2, training=training)
    return tf.layers.dense(layer, 2, name="answer")


def segmenter(X, training):
    """Return two numbers for each pixel, from a small U-net."""
    fine = block(X, 8, training, "down")
    coarse = block(tf.layers.max_pooling2d(fine, 2, 2), 16, training, "bottom")
    wide = tf.layers.conv2d_transpose(coarse, 8, kernel_size=2, strides=2, name="up")
    layer = block(tf.concat([wide, fine], axis=-1), 8, training, "join")
    return tf.layers.conv2d(layer, 2, (1, 1), name="answer")


def train_step(loss, rate):
    """Return the operation of one step, which also moves the averages of the normalization, and the number of steps."""
    step = tf.train.get_or_create_global_step()
    with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
        return tf.train.AdamOptimizer(rate).minimize(loss + tf.losses.get_regularization_loss(), global_step=step), step


def start(session, folder):
    """Initialize the variables, or go on with those of the newest file; return the saver and the writer of the summaries."""
    saver = tf.train.Saver()
    session.run(tf.global_variables_initializer())
    newest = tf.train.latest_checkpoint(folder)
    if newest:
        saver.restore(session, newest)
    return saver, tf.summary.FileWriter(os.path.join(folder, "logs"), session.graph)
