"""Images as data.

What enters: folders of pictures, the files of MNIST and CIFAR-10, scikit-learn's digits.
What leaves: the splits of each as ``ImageDataset`` (pixels 0 to 255, labels), and the conversions between pixels,
pictures and the floats in [-1, 1] of a model.
"""
