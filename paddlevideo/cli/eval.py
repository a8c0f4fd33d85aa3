"""Scores results files of --test --out again; several files are fused by the weighted mean of their scores; and spans.

    paddlevideo eval result.json --metrics top_k_accuracy confusion_matrix --labels data/k400/labels.txt
    paddlevideo eval rgb.json flow.csv --weights 1 1.5 --out fused.json --report fused.html

Files are joined by path; a clip that is missing in one of them is an error.  Score files without paths and labels, as
MMAction2 writes them, need the list they were made from: --annotations val.list.

    paddlevideo eval results.csv --metrics mAP --annotations ava_val.csv --labels actions.pbtxt
    paddlevideo eval proposals.pkl --metrics proposal_recall --annotations ava_val.csv

score detections (--out of AVA models) and person boxes against AVA's csv; --exclude names key frames that do not count.

    paddlevideo eval spans.json truth.json --background none --out figures.json

scores spans of time (.json, .csv, .jsonl, .srt, .vtt; several videos in a file) against annotated ones: frame accuracy,
edit score, F1@10, 25 and 50, and segment mAP at IoU 0.3 to 0.7.
"""

from __future__ import annotations

import argparse
import shlex
import sys

from paddlevideo.cli import eval_spans, options
from paddlevideo.errors import UserError
from paddlevideo.inference.result_lines import is_file_of_results
from paddlevideo.spans import holds_spans

METRICS = (
    "top_k_accuracy",
    "mean_class_accuracy",
    "mean_average_precision",
    "mmit_mean_average_precision",
    "confusion_matrix",
    "mAP",
    "proposal_recall",
)
# kind of results -> the options that have an effect
_OF_BOXES = {
    "mAP": ("metrics", "annotations", "labels", "exclude", "custom_classes", "iou", "report"),
    "proposal_recall": ("metrics", "annotations", "exclude", "iou"),
}
_OF_CLIPS = ("metrics", "topk", "labels", "annotations", "weights", "softmax", "out", "report")
_OF_SPANS = ("background", "out")
_ALL = tuple(dict.fromkeys([*_OF_CLIPS, *_OF_BOXES["mAP"], *_OF_SPANS]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("results", nargs="+", metavar="RESULT", help=".json, .csv or .pkl of --out; of spans two files: SPANS TRUTH")
    add("--metrics", "--eval", nargs="+", choices=METRICS, metavar="NAME",
        help=f"{', '.join(METRICS)} (the accuracies, or for several labels per clip the precisions)")  # fmt: skip
    add("--topk", nargs="+", type=options.at_least(1), metavar="K", help="of top_k_accuracy (1 5)")
    add("--labels", metavar="FILE",
        help="class names, for the confusion matrix and the report; of boxes: what counts (.pbtxt)")  # fmt: skip
    add("--annotations", metavar="LIST",
        help="list file with the labels (path label), in the results' order; of boxes: AVA's csv")  # fmt: skip
    add("--exclude", metavar="FILE", help="of boxes: csv of key frames that do not count")
    add("--custom-classes", nargs="+", type=int, metavar="ID", help="of boxes: only these class ids count")
    add("--iou", type=float, help="of boxes: least overlap of a match (0.5)")
    add("--background", metavar="NAME", help="of spans: the label of time without an action")
    add("--weights", nargs="+", type=float, metavar="W", help="of each file in the fusion (1 each)")
    add("--softmax", action="store_true", help="scores are logits: make them probabilities before the fusion")
    add("--out", metavar="FILE", help="write the (fused) results as .json, .csv or .pkl")
    add("--report", metavar="FILE.html", help="write the report that --test writes")


def run(args: argparse.Namespace) -> int:
    """Prints a line per figure."""
    for path in args.results:
        if is_file_of_results(path):
            raise UserError(
                f"{path}: results of paddlevideo predict; expected those of paddlevideo test --out FILE.json, of a "
                "list with labels"
            )
    if any(holds_spans(path) for path in args.results):
        options.refuse_others(args, _OF_SPANS, _ALL, "spans")
        return eval_spans.run(args)
    if args.background:
        raise UserError("--background: is for two files of spans (.json, .csv, .jsonl, .srt, .vtt)")
    boxes = [name for name in args.metrics or () if name in _OF_BOXES]
    if boxes and (len(args.metrics) > 1 or len(args.results) > 1 or not args.annotations):
        raise UserError(
            f"--metrics {boxes[0]}: expected alone, with one RESULT and with --annotations GROUND_TRUTH.csv"
        )
    own = _OF_BOXES.get(boxes[0]) if boxes else _OF_CLIPS
    options.refuse_others(args, own, _ALL, f"--metrics {boxes[0]}" if boxes else "results of clips")
    args.iou = 0.5 if args.iou is None else args.iou
    if not 0 < args.iou <= 1:
        raise UserError("--iou: expected above 0, at most 1")
    if boxes:
        return {"mAP": _score_detections, "proposal_recall": _score_proposals}[boxes[0]](args)
    from paddlevideo.loader.labels import read_labels
    from paddlevideo.metrics.topk import is_trivial
    from paddlevideo.reporting.fusion import annotate, by_name, fuse
    from paddlevideo.reporting.page import ReportPage, write_report
    from paddlevideo.reporting.result_files import read_results
    from paddlevideo.reporting.results import check_name, score, write_results

    if args.out:
        check_name(args.out)
    files = [read_results(path) for path in args.results]
    names = read_labels(args.labels, files[0].scores.shape[1]) if args.labels else None
    if args.annotations:
        files = [annotate(results, args.annotations, names or results.names) for results in files]
    results = fuse(files, args.weights or [1.0] * len(files), args.softmax)
    results = by_name(results, names, args.labels) if names else results
    names = names or results.names
    metrics = args.metrics and [name for name in args.metrics if name != "confusion_matrix"]
    classes = results.scores.shape[1]
    if args.topk and max(args.topk) > classes:
        raise UserError(f"--topk {max(args.topk)}: the scores are of {classes} classes: every clip would be right")
    figures = score(results, metrics, args.topk or (1, 5))
    for key, value in figures.items():
        if args.topk or not is_trivial(key, classes):
            print(f"{key}: {value:.6g}")
    if args.metrics and "confusion_matrix" in args.metrics:
        _print_confusion(results, names)
    unreadable = int(results.unreadable.sum())
    print(f"clips: {len(results.scores)}" + (f", of which without scores (wrong): {unreadable}" if unreadable else ""))
    if args.out:
        write_results(args.out, results)
    if args.report:
        facts = [("command", shlex.join(sys.argv)), ("results", results.source)]
        write_report(args.report, ReportPage(f"Results of {results.source}", figures, results, names, facts))
    return 0


def _score_detections(args: argparse.Namespace) -> int:
    """Frame-mAP, each class's average precision, and what may be wrong if it is 0."""
    from paddlevideo.metrics.ava_evaluation import format_classes, read_ground_truth, score_csv
    from paddlevideo.reporting.page import ReportPage, write_report

    truth = read_ground_truth(args.annotations, args.labels, args.exclude, args.custom_classes)
    evaluation, problems = score_csv(args.results[0], truth, args.iou)
    print(format_classes(evaluation.classes))
    for key, value in evaluation.figures.items():
        print(f"{key}: {value:.6g}")
    for problem in problems:
        print(f"{'note' if next(iter(evaluation.figures.values())) > 0 else 'why'}: {problem}")
    if args.report:
        facts = [("command", shlex.join(sys.argv)), ("ground truth", truth.source)]
        title = f"Detections of {args.results[0]}"
        write_report(args.report, ReportPage(title, evaluation.figures, facts=facts, classes=evaluation.classes))
    return 0


def _score_proposals(args: argparse.Namespace) -> int:
    """The share of the annotated persons that a person box overlaps."""
    import numpy as np

    from paddlevideo.ava_files import img_key, read_ava_csv, read_excluded, read_proposals
    from paddlevideo.metrics.ava import proposal_recall

    table = read_ava_csv(args.annotations)
    excluded = {img_key(*pair) for pair in read_excluded(args.exclude)} if args.exclude else set()
    names, key = table.keys()
    persons, lines = np.unique(np.column_stack([key, table.boxes]), axis=0, return_index=True)
    keys = [names[int(k)] for k in persons[:, 0]]
    rows = [i for i, name in enumerate(keys) if name not in excluded]
    found = proposal_recall(read_proposals(args.results[0]), [keys[i] for i in rows], persons[rows, 1:], args.iou)
    print(f"proposal_recall@{args.iou:g}IOU: {found.recall:.6g}")
    print(f"persons: {len(rows)}, of which without a proposal: {len(found.missed)}")
    for row in found.missed[:10]:
        line = int(table.line[lines[rows[row]]])
        print(f"  {args.annotations}:{line}: {keys[rows[row]]}, best overlap {found.iou[row]:.2f}")
    return 0


def _print_confusion(results: object, names: list[str] | None) -> None:
    """Each class with what it is most often taken for; the counts too where they fit a screen."""
    import numpy as np

    from paddlevideo.metrics.confusion import confusion_matrix, format_table, per_class_table
    from paddlevideo.reporting.results import hard_labels

    labels = hard_labels(results, "confusion_matrix")
    matrix = confusion_matrix(results.scores, labels, results.scores.shape[1])
    samples = np.bincount(labels, minlength=len(matrix)).tolist()
    print(format_table(per_class_table(matrix, names, samples)))
    if len(matrix) <= 20:
        width = max(2, len(str(matrix.max())))
        print("row: label, column: prediction")
        for k, row in enumerate(matrix):
            print(f"{k:>4} |" + " ".join(f"{count:>{width}}" for count in row))
