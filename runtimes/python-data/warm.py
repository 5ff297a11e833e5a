"""Uses the libraries once, so that a template's page cache holds them and Matplotlib knows its fonts."""

import os

import matplotlib.pyplot
import numpy
import pandas
import scipy.integrate
import scipy.interpolate
import scipy.linalg
import scipy.optimize
import scipy.stats
import sklearn.cluster
import sklearn.datasets
import sklearn.ensemble
import sklearn.linear_model
import sklearn.metrics
import sklearn.model_selection

numbers = numpy.arange(12.0).reshape(4, 3)
print(numpy.linalg.norm(numbers @ numbers.T), numpy.random.default_rng(1).normal())
frame = pandas.DataFrame(numbers, columns=["a", "b", "c"])
print(frame.groupby(frame.a > 4).mean().to_csv(), frame.describe())
print(sklearn.linear_model.LinearRegression().fit(numbers, numbers[:, 0]).coef_)
figure, axes = matplotlib.pyplot.subplots()
axes.plot(numbers[:, 0], numbers[:, 1], label="line")
axes.set_title("warm")
axes.legend()
figure.savefig("/tmp/warm.png")
matplotlib.pyplot.close(figure)
os.remove("/tmp/warm.png")
