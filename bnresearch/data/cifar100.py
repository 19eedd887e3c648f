"""CIFAR-100: 60,000 photographs, 32x32 colour. Krizhevsky 2009, tech report.

The labels are the 100 fine ones; the 20 superclasses are not used.
"""

from bnresearch.data import Spec, _prepare

FILES = ('cifar-100-binary.tar.gz',)
_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle
bowl boy bridge bus butterfly camel can castle caterpillar cattle
chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur
dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard
lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck
pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket
rose sea seal shark shrew skunk skyscraper snail snake spider
squirrel streetcar sunflower sweet_pepper table tank telephone television
tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman
worm
"""


def spec() -> Spec:
  """Returns the data set's spec."""
  return Spec(
    (32, 32, 3), tuple(_CLASSES.split()), {'train': 50_000, 'test': 10_000}
  )


_ORIGINALS = _prepare.Originals('cifar100', FILES, spec(), 'cifar100')
load, ready, prepare = _ORIGINALS.load, _ORIGINALS.ready, _ORIGINALS.prepare
