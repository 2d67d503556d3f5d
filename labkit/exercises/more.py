"""What else may be tried in each lab: the list at the end of its exercises, for which there is no check."""

MORE = {
    "01_mnist_resnet18": """
- **How much data does it take?** Halve `limit` until the accuracy falls below 90 %. Plot accuracy against the number
  of images, with intervals. (`limit` holds for the test images too: what does that do to the intervals?)
- **Is deeper better?** Try `model = "resnet34"`. Compare parameters, seconds per epoch and accuracy, and say whether
  the intervals tell them apart.
- **Flip.** Set `flip = True` and look at the mirrored bars again. Which digits gained, which lost, and why?
- **Other clothes.** Fashion-MNIST comes in the same files. Put them in MNIST's place and set `class_names`. Which
  augmentation makes sense there that does not here?
""",
    "02_liver_unet": """
- **Let it leak.** Run `-e leaky_slices` and put validation Dice and test Dice side by side. By how much would you
  have been wrong?
- **Flip.** Compare `augmentation = "flip_rotate"` with `affine` and `elastic`. Several things change at once: which
  experiment would tell what the flip alone does?
- **Take the skips away.** Set `model = "unet_without_skips"`: the decoder gets zeros instead. What do the outlines in
  the overlays look like, and what does the 95 % Hausdorff distance say?
- **Miss less.** `loss = "tversky"` ([Salehi et al. 2017](https://arxiv.org/abs/1706.05721)) makes a missed pixel
  dearer than a false one. What happens to precision and recall, and to the threshold curve?
""",
    "03_pet_resnet34_unet": """
- **Two sigmoids.** With `loss = "double_sigmoid"`: will Dice fall, and by how much? What happens to the threshold
  curve?
- **Whose block?** Compare `resnet34_unet` with `resnet34_unet_pre_add_relu` over three seeds. Is the difference
  larger than the spread?
- **Someone else's eyes.** Where the network can be reached, `model = "resnet34_unet_imagenet"` (with `width = 64`)
  starts from weights that have seen a million photos. How many epochs does that save?
- **Your own pet.** Take a photo and use `labkit predict`. What on your sofa does the network take for fur?
""",
    "04_block_cnn": """
- **Where do the parameters sit?** `tail = "halving"` puts the report's fully connected layers behind the blocks. How
  many parameters do they add, and what do they do to accuracy?
- **Against learning by heart.** Set `flip = True` and `crop = 4`. How far apart do the two curves of the loss stay
  now?
- **Half the pixels, sooner.** Set `early_pool = True`. How many more images a second, at what price in accuracy? And
  with the time you saved spent on `width`?
- **As far in all directions.** `optimiser = "muon"` ([Jordan et al. 2024](https://kellerjordan.github.io/posts/muon/))
  with `learning_rate = 0.01` takes steps of equal length along all directions of a layer's kernels. After how many
  epochs is it where Adam ends?
- **One block or four?** Train with `blocks = 2`. Which classes suffer most, and why those?
- **Your own classes.** Put ten folders of pictures of yours under `cifar10/train` and `cifar10/test` in a folder, and
  name that as `data_root`. What would colour alone get?
""",
    "05_digit_on_photo": """
- **A smaller digit.** With `digit_size = 14` the digit takes a quarter of the pixels it had. What happens to pixel
  accuracy, and why is that no progress?
- **One true distribution.** Train `log_softmax` against `two_decoders` over three seeds. Is the difference larger
  than the spread?
- **Seeing more of each photo.** Set `flip = True` and `crop = 4`. Which bar of *What limits the score* grows?
- **One answer an image.** Train `image_classes` against `one_decoder`. Which of the bars moves, and does the mask get
  worse? (Its encoder is another one, too: what can you say of the single answer alone?)
- **A vote.** How many test photos would be right if their pixels voted? (`per_image.csv` holds the answer.)
""",
    "06_analysis": """
- **The spread of seeds.** How large is the standard deviation over seeds in lab 2? Write down a guess, then `labkit
  run 02 -p seed 1` and `-p seed 2`, and run this notebook again.
- **Two changes at once.** Make a run that differs from another in two parameters. Which further runs tell the two
  apart?
- **The other side.** Pick a number of a report that was not reproduced. List three reasons that have nothing to do
  with a mistake.
""",
}
