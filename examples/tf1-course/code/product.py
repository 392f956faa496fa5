"""A program of its own, as a notebook starts it: `python product.py 6 7`."""
import sys

import tensorflow as tf

a, b = tf.placeholder(tf.int32), tf.placeholder(tf.int32)
with tf.Session() as session:
    print("The product is %i." % session.run(a * b, feed_dict={a: int(sys.argv[1]), b: int(sys.argv[2])}))
