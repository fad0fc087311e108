"""LeNet on the embedded digits, MNIST, Fashion-MNIST, or images of your own."""

from neurarium.data.images import load_images
from neurarium.learners.classify import Classify
from neurarium.parts.encoders import Classifier
from neurarium.parts.schedules import cosine
from neurarium.running.pictures import sheet
from neurarium.running.recipe import Expect, recipe
from neurarium.running.run import Result, Run
from neurarium.systems.vision.lenet import LeNet

PLENTY = 10_000  # examples from which on a net this small learns little by heart
DROPOUT = 0.5
EPOCHS = 12


@recipe(
    expects=[
        Expect("test_accuracy", at_least=0.98),
        Expect("test_accuracy", at_least=0.99, given={"data": "mnist"}),
        Expect("test_accuracy", at_least=0.99, given={"data": "mnist", "steps": 4687}),  # 5 epochs
        Expect("test_accuracy", at_least=0.90, given={"data": "fashion-mnist"}),
    ],
    smoke=dict(steps=60),
    control=dict(shuffle_labels=True),
)
def lenet(
    run: Run,
    *,
    data: str = "digits",
    steps: int | None = None,
    batch: int = 64,
    lr: float = 5e-3,
    dropout: float | None = None,
    shuffle_labels: bool = False,
) -> Result:
    """LeNet reads handwritten digits.

    A picture goes through two rounds of convolution and pooling, then a small dense network names its class. The
    weights are taught by cross-entropy and Adam, whose rate falls along a cosine. Look at the filters: strokes, edges.

    Args:
        data: digits, mnist, fashion-mnist, cifar10, idx:DIR or folder:DIR (a folder a class).
        steps: updates (default: 12 epochs, but at least 3000).
        batch: examples an update.
        lr: learning rate at the start.
        dropout: chance that a feature is hidden in training (default: 0.5 for fewer than 10,000 examples, else 0).
        shuffle_labels: deal the labels out at random first; nothing can then be learned (the negative control).
    """
    images = load_images(data, seed=run.seed, device=run.device, shuffle_labels=shuffle_labels)
    run.note(data=images.name)
    if images.note:
        run.say(images.note)
    if dropout is None:
        dropout = DROPOUT if len(images.train) < PLENTY else 0.0
    net = Classifier(LeNet(shape=images.shape), classes=images.classes, dropout=dropout)
    run.classes = images.class_names
    learner = Classify(net, lr=lr, schedule=cosine)
    stream = images.train.batches(batch, seed=run.seed)

    def evaluate() -> dict[str, float]:
        return learner.evaluate(images.test.chunks(1000), prefix="test_")

    steps = max(3000, EPOCHS * len(images.train) // batch) if steps is None else steps
    run.fit(learner, stream, steps=steps, evaluate=evaluate)
    run.picture("filters", sheet(net.encoder.conv1.weight.mean(1), columns=6))
    return run.result(**evaluate())
