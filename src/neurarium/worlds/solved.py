r"""Solved positions: games whose best moves are known for certain, and how many of them a player finds.

A move is optimal if it keeps what the position is worth under perfect play: a win stays won, a draw drawn. How fast a
win comes does not count. Positions in which every move is as good say nothing and are left out.

Source: tic-tac-toe is solved here, backward from its ends (CSE 151B, Reinforcement Learning: the value function of a
game). Connect four takes a strong solver, so its positions are stored with their answers: the first 200 found by
playing 8 to 16 legal moves at random, such that nobody has won, the one to move cannot win at once, and his moves are
not all as good; answers by BitBully (Thill 2025), to which the test of this file holds every one of them.
Shapes: B positions, A actions, E moves from one level of a game to the next.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from neurarium.errors import InvalidValue, require
from neurarium.parts.games import Game, Player, Positions, joined, rows, where


class Solved(NamedTuple):
    """Positions, and which actions keep their worth."""

    positions: Positions
    optimal: Bool[Tensor, "B A"]

    def some(self, count: int) -> "Solved":
        """So many of them, evenly spread; all if there are no more.

        Raises:
            InvalidValue: none at all.
        """
        require(count >= 1, f"positions is {count}; at least 1 must be asked about")
        every = len(self.optimal)
        index = torch.arange(min(count, every)) * every // min(count, every)
        return Solved(rows(self.positions, index), self.optimal[index])

    def to(self, device: torch.device | str) -> "Solved":
        """The same on a device."""
        return Solved(Positions(*(field.to(device) for field in self.positions)), self.optimal.to(device))


def solved(game: Game) -> Solved:
    """The solved positions of a game.

    Raises:
        InvalidValue: there are none of this game.

    >>> from neurarium.worlds.lines import connect_four
    >>> stored = solved(connect_four())
    >>> len(stored.optimal), stored.optimal[0].nonzero().flatten().tolist()
    (200, [5])
    """
    if game.name == "tic_tac_toe":
        return solve(game)
    if game.name == "connect_four":
        return stored(game, CONNECT_FOUR)
    raise InvalidValue(f"no positions of {game.name} are solved; take tic_tac_toe or connect_four")


def optimal_moves(player: Player, known: Solved) -> float:
    """In what share of solved positions a player chooses a move that keeps what the position is worth.

    >>> from neurarium.parts.games import Chance
    >>> from neurarium.worlds.lines import tic_tac_toe
    >>> game = tic_tac_toe()
    >>> 0.3 < optimal_moves(Chance(game, generator=torch.Generator().manual_seed(0)), solved(game)) < 0.7
    True
    """
    return kept(player.choose(known.positions), known)


def kept(actions: Tensor, known: Solved) -> float:
    """The share of these actions, one a position, that are optimal."""
    return known.optimal.gather(1, actions.unsqueeze(1)).float().mean().item()


def by_chance(game: Game, known: Solved) -> float:
    """The share that any legal action would get."""
    return float((known.optimal.sum(1) / game.legal(known.positions).sum(1)).mean())


def solve(game: Game) -> Solved:
    """Every position of a small game that can be reached and whose moves are not all as good.

    What lies on the board must say all, who is to move follow from the moves made, and nothing be left to chance.
    """
    levels, links = [game.start(1)], []
    while not levels[-1].over.all():
        before, actions = game.legal(levels[-1]).nonzero().T
        after = game.play(rows(levels[-1], before), actions)
        _, which = after.board.flatten(1).unique(dim=0, return_inverse=True)
        one = torch.zeros(int(which.max()) + 1, dtype=torch.int64).scatter(0, which, torch.arange(len(which)))
        levels.append(rows(after, one))
        links.append((before, actions, which))
    values, found = levels[-1].outcome, []
    for level, (before, actions, which) in zip(levels[-2::-1], links[::-1], strict=True):
        # v(s) = outcome, or p max_a p v(s a) for the player p to move
        worth = torch.full((len(level.over), game.actions), -torch.inf)
        worth[before, actions] = values[which] * level.player[before]
        best = worth.amax(1, keepdim=True)
        values = torch.where(level.over, level.outcome, best.squeeze(1) * level.player)
        optimal = (worth == best) & game.legal(level)
        telling = (game.legal(level) & ~optimal).any(1)
        found.append(Solved(rows(level, telling), optimal[telling]))
    return Solved(joined([one.positions for one in found[::-1]]), torch.cat([one.optimal for one in found[::-1]]))


def stored(game: Game, words: str) -> Solved:
    """Positions written as the actions that lead there, a colon, and the optimal ones as bits of a hexadecimal number.

    Raises:
        InvalidValue: an action that is not legal on the way.
    """
    played, answers = zip(*(word.split(":") for word in words.split()), strict=True)
    positions = game.start(len(played))
    for ply in range(max(map(len, played))):
        on = torch.tensor([len(moves) > ply for moves in played])
        actions = torch.tensor([int(moves[ply]) if len(moves) > ply else 0 for moves in played])
        legal = game.legal(positions).gather(1, actions.unsqueeze(1)).squeeze(1)
        require(bool((legal | ~on).all()), f"a stored position has an illegal move {ply + 1}; the words are damaged")
        positions = where(on, game.play(positions, actions), positions)
    bits = torch.tensor([int(answer, 16) for answer in answers]).unsqueeze(1)
    return Solved(positions, (bits >> torch.arange(game.actions)) % 2 == 1)


CONNECT_FOUR = """
1264666331160334:20 423633601056536:10 42142315036:7e 34522254:30 0566556524:8 6023306532044415:4b 545422244635246:40
55031035:28 33434631:1e 5534442015500022:77 01664355231140:8 01011031146:59 106004023641:d 105623330612:8
6521521341620:7c 4301456136:3a 41654020:1e 260353310150:24 5405154431520:53 614123411122030:5f 5060053515043164:20
011156241:32 1103111152405:8 160220312106234:4 30641313655:7e 1052511565:1c 514400650560525:8 5162046510:8
530062330:3f 145661162:10 4254062602224:70 21300416431:8 41152563322423:2f 66416561321125:5c 100505342:2c 255133115:8
245202634161:44 120542415:37 016145264114642:14 454435344:2e 5050050546543:4 322545235360:10 06141214054651:8
236166561:4e 141644314345460:4 61316406:10 251110310:10 2416424241661:10 112306566:6f 2111530405:d 14204312625:e
200211666:1e 2264522620:30 63202544626:40 132530441552:1a 623602622:20 46621324:14 13305061:2a 52602235165524:10
1400620326244631:20 0546233200:c 56055255152:4 54355635526:8 222115010115021:1 5406222031:6 43364653316:9
3600600142531:2 446512400:34 00200101536556:8 03020112166065:10 1232565514:6 5565521210:8 533440346515:e 54122516:56
40515041042:8 20253033:3f 06056200:24 43130144163:5f 65440354213222:8 3116243213606:5f 14662542:5f 4223553466:8
26231034:20 41061153:28 522115310:8 646441061:1a 3166612301341:1d 6162344134:68 624344524:7b 23643343514:28
420016304:11 666314241:1e 0013462451104255:8 0005113335445:4 40060416:1b 13302666532543:6 64311421360:10
525633013304:3f 3054511340:38 4255163660214660:77 6300652366662:28 26126125550:8 30566244522136:3f 461401022600056:7e
314424013:20 02304365524:36 552034265311355:50 006154333062:66 00424165:14 12614425:4 224300634534260:7d
45115520535:1c 425341053211:1c 430121561001:4 11460230:c 0155646640:4 1002601305:10 0122044162:4 06642145:8
1655553400426:10 423200232:7c 4451522446:4 54651165423:7e 520236461:7e 614146206660:34 5026066113:28 41651116202:10
366221402162:5f 104243015:10 632006514006653:8 331516420:3e 3101625113251:10 1004034143056023:8 45002033510:e
1110046636003:8 265302162:8 516401325:e 41136351654:7d 234162063:c 56600135:31 411265143:8 211323163064:20
051020430432:8 4541263605:10 431224522:2f 654314026:7e 111033630:3c 4552424410:2e 53043023232:4 24361032252344:e
1160203356132:10 021040226:8 552362656:40 036061213003645:40 02600623266:18 30645021136:f 0024010345:40
31542166350524:c 313501116124:38 21316066243:e 56406542:10 4236055464152:3c 261230616:10 3420555526:54 2410602606:54
6061502025:1 4653212014:3f 31455065:1a 202253405523:8 64264114051506:33 03326065421111:58 36425056:7e 1341566204250:6c
4401513502231:40 65205656446525:1f 12436530143351:3e 42352062534:10 0412631040:20 62251511426:40 1466466446335:8
055634056520546:2 424032151:14 014661332:20 256254202035:e 35456543045:7d 615455510230456:8 32602653035:10
432622631401141:7e 6110621055:8 6542215601:3e 0452102526:5f 3265215206:7d 12460565261:2 13133164:18 10636056:8
6356615034:4 42026026:3a 60506256:2a 50633266:2 65354162335:3e
"""
