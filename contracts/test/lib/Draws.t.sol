// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ClaimRecord, NOBODY, Payout, Pot, PPM} from "../../src/interfaces/Types.sol";
import {Draws, Point} from "../../src/lib/Draws.sol";
import {Checks, log_named_uint, vm} from "../support/Vm.sol";

contract DrawsTest is Checks {
    function pointAt(bytes32 seed, ClaimRecord calldata record, Payout[] calldata payouts, uint256 j)
        external
        pure
        returns (Point memory)
    {
        return Draws.pointAt(seed, record, payouts, Draws.sumOf(record.pots), j);
    }

    /// @dev How often, of `rounds` seeds, one of `numDraws` points is in an entry of `account`.
    function countOf(
        ClaimRecord calldata record,
        Payout[] calldata payouts,
        address account,
        uint256 rounds,
        uint256 numDraws
    ) external pure returns (uint256 count) {
        uint256 total = Draws.sumOf(record.pots);
        for (uint256 n = 0; n < rounds; ++n) {
            for (uint256 j = 0; j < numDraws; ++j) {
                if (Draws.pointAt(bytes32(n), record, payouts, total, j).account != account) continue;
                ++count;
                break;
            }
        }
    }

    function _record(uint128[2] memory amounts, uint128 gross) private pure returns (ClaimRecord memory record) {
        record.pots = new Pot[](2);
        for (uint256 i = 0; i < 2; ++i) (record.pots[i].amount, record.pots[i].gross) = (amounts[i], gross);
    }

    /// @dev Two accounts in the first pot; the second is not listed.
    function _list(uint256 whole, uint256 part) private pure returns (Payout[] memory payouts) {
        payouts = new Payout[](2);
        payouts[0] = Payout(0, address(1), whole - part);
        payouts[1] = Payout(0, address(2), part);
    }

    function test_fuzz_a_point_is_in_an_entry(bytes32 seed, uint128[2] memory amounts, uint128 gross, uint256 part)
        public
        view
    {
        (amounts[0], amounts[1]) = (amounts[0] / 2, amounts[1] / 2 + 1);
        gross = gross == 0 ? 1 : gross;
        part = within(part, 1, PPM * gross - 1);
        Point memory point = this.pointAt(seed, _record(amounts, gross), _list(PPM * gross, part), 0);
        if (point.pot == 1) return eq("nobody's", point.account, NOBODY);
        yes("the pot has money", amounts[0] > 0);
        uint256 end = point.account == address(2) ? part : PPM * gross - part;
        yes("one of both", point.account == address(1) || point.account == address(2));
        yes("within", point.offset < end);
    }

    /// @dev An entry ends where the next begins: a place at its end is the next one's first.
    function test_fuzz_entries_meet_without_a_gap(bytes32 seed) public view {
        ClaimRecord memory record = _record([uint128(1), 0], 1e18);
        uint256 whole = PPM * 1e18;
        bytes32 random = keccak256(abi.encode(seed, address(0), uint64(0), uint256(0)));
        uint256 place = uint256(keccak256(abi.encode(random))) % whole;
        vm.assume(place > 0 && place + 1 < whole);
        Point memory point = this.pointAt(seed, record, _list(whole, whole - place), 0);
        eq("the next one's", point.account, address(2));
        eq("first", point.offset, 0);
        point = this.pointAt(seed, record, _list(whole, whole - place - 1), 0);
        eq("the entry's", point.account, address(1));
        eq("last", point.offset, place);
    }

    function test_a_pot_without_money_is_never_drawn() public view {
        ClaimRecord memory record = _record([uint128(0), 1], 1);
        eq("never", this.countOf(record, _list(PPM, 1), address(1), 100, 16), 0);
    }

    function test_pots_are_drawn_by_their_money() public view {
        ClaimRecord memory record = _record([uint128(3e18), 1e18], 1e18);
        uint256 count = this.countOf(record, _list(PPM * 1e18, 1), address(1), 2_000, 1);
        yes("three of four", count > 1_430 && count < 1_570);
    }

    /// @dev F: of a list of a large token the end would never be drawn, if 128 bits had to do for its length.
    function test_the_whole_of_a_huge_list_is_drawn() public view {
        uint128 gross = type(uint128).max;
        ClaimRecord memory record = _record([gross, 0], gross);
        uint256 count = this.countOf(record, _list(PPM * gross, PPM * gross / 2), address(2), 400, 1);
        yes("half of them", count > 160 && count < 240);
    }

    /// @dev A list of which a part f is false is caught with the chance 1 − (1 − f)^K.
    function test_a_lie_is_drawn_as_often_as_it_must_be() public {
        uint256[3] memory partPpm = [uint256(10_000), 100_000, 500_000];
        uint256[3] memory expected = [uint256(39), 344, 938]; // of a thousand, with four draws
        ClaimRecord memory record = _record([uint128(1e18), 0], 1e18);
        for (uint256 i = 0; i < 3; ++i) {
            Payout[] memory payouts = _list(PPM * 1e18, partPpm[i] * 1e18);
            uint256 found = this.countOf(record, payouts, address(2), 2_000, 4) / 2;
            emit log_named_uint("caught, of a thousand", found);
            yes("as expected", found + 25 > expected[i] && found < expected[i] + 25);
        }
    }
}
