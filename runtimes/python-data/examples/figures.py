"""Shows two figures and leaves a table: all three come back, without the program knowing how."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

x = np.linspace(0, 10, 200)
plt.plot(x, np.sin(x), label="sin")
plt.legend()
plt.show()

figure, axes = plt.subplots(1, 2, figsize=(8, 3), dpi=120)
axes[0].scatter(x, np.cos(x), s=4)
axes[1].hist(np.random.default_rng(1).normal(size=500), bins=20)

pd.DataFrame({"x": x, "sin": np.sin(x)}).to_csv("output/sin.csv", index=False)
