"""A judge of generated images: a LeNet taught on the real ones, which never sees a generated one until it judges it."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from neurarium.data.images import Images
from neurarium.data.imagesets import ImageSet
from neurarium.learners.classify import Classify
from neurarium.parts.encoders import Classifier
from neurarium.parts.likeness import class_entropy, confident, copies, frechet_distance, overlap
from neurarium.parts.modes import evaluating
from neurarium.parts.schedules import cosine
from neurarium.running.run import Run
from neurarium.systems.vision.lenet import LeNet

CHUNK = 1000  # images looked at at a time
MOST = 5000  # real examples that samples are compared with
DROPOUT = 0.5


@dataclass(frozen=True)
class Judge:
    """A classifier, and the real images that samples are compared with.

    Attributes:
        learner: the classifier.
        trained: images that the generator learned from.
        unseen: images that neither learned from.
    """

    learner: Classify[Classifier[LeNet]]
    trained: Float[Tensor, "N C H W"]
    unseen: Float[Tensor, "M C H W"]

    def classes(self, samples: Float[Tensor, "B C H W"]) -> Float[Tensor, "B K"]:
        """Probabilities of the classes."""
        return torch.cat([self.learner.predict(part) for part in samples.split(CHUNK)]).float()

    def features(self, samples: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D"]:
        """What the classifier makes of images before it names their class."""
        net = self.learner.model
        with evaluating(net):
            return torch.cat([net.encoder(part) for part in samples.split(CHUNK)]).float()

    def label_accuracy(self, samples: Float[Tensor, "B C H W"], labels: Int64[Tensor, " B"]) -> float:
        """How often it names the class that was asked for."""
        return float((self.classes(samples).argmax(1) == labels).float().mean())

    def likeness(self, samples: Float[Tensor, "B C H W"]) -> dict[str, float]:
        """How near samples (0 to 1) come to real images: by name, as a run's result tells it.

        `frechet_floor` is the distance of unseen real images to those learned from: what no generator can better.
        """
        probabilities, seen = self.classes(samples), self.features(samples)
        known, unseen = self.features(self.trained), self.features(self.unseen)
        precision, coverage = overlap(unseen, seen)
        return {
            "confident": confident(probabilities),
            "class_entropy": class_entropy(probabilities),
            "copies": copies(samples, self.trained, self.unseen),
            "precision": precision,
            "coverage": coverage,
            "frechet": frechet_distance(known, seen),
            "frechet_floor": frechet_distance(known, unseen),
        }


def taught_judge(run: Run, images: Images, *, steps: int = 1500, batch: int = 64, lr: float = 5e-3) -> Judge:
    """Teach a judge on the images to learn from, and say how well it reads those it never saw.

    Args:
        run: where it is a fit of its own, `judge`.
        images: real ones.
        steps: updates.
        batch: examples an update.
        lr: learning rate at the start; it falls along a cosine.
    """
    net = Classifier(LeNet(shape=images.shape), classes=images.classes, dropout=DROPOUT)
    learner = Classify(net, lr=lr, schedule=cosine).to(run.device)

    def evaluate() -> dict[str, float]:
        return learner.evaluate(images.test.chunks(CHUNK), prefix="test_")

    run.fit(learner, images.train.batches(batch, seed=run.seed), steps=steps, evaluate=evaluate, name="judge")
    run.say(f"the judge reads {evaluate()['test_accuracy']:.3f} of unseen real images rightly")
    return Judge(learner, gathered(images.train), gathered(images.test))


def gathered(images: ImageSet) -> Float[Tensor, "N C H W"]:
    """Real images in memory, as many as samples are compared with."""
    found, count = [], 0
    for batch in images.chunks(CHUNK):
        found.append(batch.inputs)
        count += len(batch.inputs)
        if count >= MOST:
            break
    return torch.cat(found)[:MOST]
