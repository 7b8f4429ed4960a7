// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ClaimTerms, IParams as I, Values} from "../../src/interfaces/IParams.sol";
import {vm} from "../support/Vm.sol";
import {Edges} from "./Edges.sol";

contract ParamsSetTest is Edges {
    /// @dev A value that may change at any time.
    function _with(uint128 guidePrice) private pure returns (Values memory v) {
        v = values();
        v.guidePrice = guidePrice;
    }

    function _set(uint128 guidePrice) private {
        _setAll(_with(guidePrice));
    }

    function _setAll(Values memory v) private {
        vm.prank(governor);
        params.set(v);
    }

    function _epoch() private view returns (uint64) {
        return params.epochAt(uint64(block.timestamp));
    }

    /// @dev F: a change that holds at once is a change that work was done without knowing.
    function test_a_change_holds_from_the_epoch_after_next() public {
        uint64 epoch = _epoch();
        _emits(address(params));
        emit I.ParamsQueued(epoch + 2, _with(7));
        _set(7);
        eq("before", params.valuesAt(epoch + 1).guidePrice, values().guidePrice);
        eq("from then on", params.valuesAt(epoch + 2).guidePrice, 7);
        eq("for ever", params.valuesAt(type(uint64).max).guidePrice, 7);
    }

    function test_all_values_change_together() public {
        uint64 epoch = _epoch();
        Values memory v = Values({
            protocolPpm: 60_000,
            dataPpm: 250_000,
            minStake: 2 * MIN_STAKE,
            minDeposit: 2 * MIN_DEPOSIT,
            adapterBond: BOND / 2,
            draws: 5,
            algoId: 7,
            creditTokensMax: 14,
            leastContext: 15,
            guidePrice: 16
        });
        _setAll(v);
        eq("all", keccak256(abi.encode(params.valuesAt(epoch + 2))), keccak256(abi.encode(v)));
        eq("none before", keccak256(abi.encode(params.valuesAt(epoch + 1))), keccak256(abi.encode(values())));
        ClaimTerms memory terms = params.claimTermsAt(epoch + 2);
        eq("protocol", terms.protocolPpm, 60_000);
        eq("data", terms.dataPpm, 250_000);
        eq("stake", terms.minStake, 2 * MIN_STAKE);
        eq("draws", params.drawsAt(epoch + 2), 5);
        eq("draws before", params.drawsAt(epoch + 1), 4);
    }

    /// @dev F: a node that waits for a change with its claims must have next to nothing to gain by it.
    function test_a_share_moves_by_a_quarter_at_most() public {
        Values memory v = values();
        v.dataPpm = 250_001;
        _refusesStep("dataPpm", v, 250_001, 200_000, 50_000);
        v.dataPpm = 149_999;
        _refusesStep("dataPpm", v, 149_999, 200_000, 50_000);
        v.dataPpm = 150_000;
        v.protocolPpm = 62_501;
        _refusesStep("protocolPpm", v, 62_501, 50_000, 12_500);
        v.protocolPpm = 37_499;
        _refusesStep("protocolPpm", v, 37_499, 50_000, 12_500);
        v.protocolPpm = 37_500;
        _setAll(v);
    }

    function test_a_small_share_moves_by_10_000_ppm() public {
        Values memory v = values();
        v.protocolPpm = 0;
        params = I(_new("Params", abi.encode(governor, v, bounds(), windows())));
        v.protocolPpm = 10_001;
        _refusesStep("protocolPpm", v, 10_001, 0, 10_000);
        v.protocolPpm = 39_999;
        params = I(_new("Params", abi.encode(governor, v, bounds(), windows())));
        v.protocolPpm = 29_998;
        _refusesStep("protocolPpm", v, 29_998, 39_999, 10_000);
        v.protocolPpm = 29_999;
        _setAll(v);
    }

    /// @dev F: steps one after another would be a large one.
    function test_shares_change_14_epochs_apart() public {
        Values memory v = values();
        v.dataPpm = 160_000;
        uint64 start = _epoch();
        _setAll(v);
        for (uint64 i = 1; i < 14; ++i) {
            vm.warp(block.timestamp + 1 days);
            v.dataPpm = 130_000;
            _refuses(I.SharesTooSoon.selector, abi.encode(start + i + 2));
            _setAll(v);
            (v.dataPpm, v.guidePrice) = (160_000, i);
            _setAll(v); // other values may change
        }
        vm.warp(block.timestamp + 1 days);
        v.dataPpm = 130_000;
        _setAll(v);
        eq("then", params.valuesAt(start + 16).dataPpm, 130_000);
    }

    /// @dev The step is measured from the values that the replaced ones would have followed.
    function test_a_replaced_change_of_shares_never_was() public {
        Values memory v = values();
        v.dataPpm = 150_000;
        _setAll(v);
        v.dataPpm = 120_000;
        _refusesStep("dataPpm", v, 120_000, 200_000, 50_000);
        _setAll(values());
        vm.warp(block.timestamp + 1 days);
        v.dataPpm = 250_000;
        _setAll(v);
    }

    function test_in_the_first_epochs_of_all_shares_change_as_well() public {
        vm.warp(3 days);
        Values memory v = values();
        v.dataPpm = 150_000;
        _setAll(v);
        vm.warp(4 days);
        v.dataPpm = 140_000;
        _refuses(I.SharesTooSoon.selector, abi.encode(6));
        _setAll(v);
    }

    /// @dev F: a minimum stake that one vote raises a hundredfold stops every small node's claims, and payers leave with
    /// what it has earned.
    function test_a_minimum_at_most_doubles_or_halves() public {
        Values memory v = values();
        v.minStake = 100_000 * OPEN;
        _refusesMinimum("minStake", v, v.minStake, MIN_STAKE);
        v.minStake = 2 * MIN_STAKE + 1;
        _refusesMinimum("minStake", v, v.minStake, MIN_STAKE);
        v.minStake = MIN_STAKE / 2 - 1;
        _refusesMinimum("minStake", v, v.minStake, MIN_STAKE);
        v.minStake = MIN_STAKE / 2;
        v.minDeposit = 2 * MIN_DEPOSIT + 1;
        _refusesMinimum("minDeposit", v, v.minDeposit, MIN_DEPOSIT);
        v.minDeposit = 2 * MIN_DEPOSIT;
        v.adapterBond = 2 * BOND + 1;
        _refusesMinimum("adapterBond", v, v.adapterBond, BOND);
        v.adapterBond = 2 * BOND;
        _setAll(v);
    }

    /// @dev Or else a bond of 0 could never be raised, and none could ever be 0.
    function test_a_minimum_moves_freely_up_to_1_OPEN() public {
        Values memory v = values();
        v.adapterBond = 0;
        params = I(_new("Params", abi.encode(governor, v, bounds(), windows())));
        v.adapterBond = OPEN + 1;
        _refusesMinimum("adapterBond", v, OPEN + 1, 0);
        v.adapterBond = OPEN;
        v.minDeposit = 1; // from 1 OPEN
        _setAll(v);
        vm.warp(block.timestamp + 14 days);
        v.adapterBond = 2 * OPEN;
        _setAll(v);
        vm.warp(block.timestamp + 14 days);
        v.adapterBond = OPEN - 1;
        _refusesMinimum("adapterBond", v, OPEN - 1, 2 * OPEN);
    }

    /// @dev F: steps one after another would be a large one. One minimum's change does not hold up another's.
    function test_each_minimum_changes_14_epochs_apart() public {
        Values memory v = values();
        uint64 start = _epoch();
        v.minStake = 2 * MIN_STAKE;
        _setAll(v);
        for (uint64 i = 1; i < 14; ++i) {
            vm.warp(block.timestamp + 1 days);
            v.minStake = 4 * MIN_STAKE;
            _refuses(I.MinimumTooSoon.selector, abi.encode("minStake", start + i + 2));
            _setAll(v);
            v.minStake = 2 * MIN_STAKE;
            if (i == 5) v.minDeposit = 2 * MIN_DEPOSIT;
            if (i == 7) v.adapterBond = 2 * BOND;
            v.guidePrice = i;
            _setAll(v);
        }
        vm.warp(block.timestamp + 1 days);
        v.minStake = 4 * MIN_STAKE;
        _setAll(v);
        eq("then", params.valuesAt(start + 16).minStake, 4 * MIN_STAKE);
        v.minDeposit = MIN_DEPOSIT;
        _refuses(I.MinimumTooSoon.selector, abi.encode("minDeposit", start + 16));
        _setAll(v);
    }

    function _refusesMinimum(string memory what, Values memory v, uint256 value, uint256 before) private {
        _refuses(I.MinimumStep.selector, abi.encode(what, value, before));
        _setAll(v);
    }

    function _refusesStep(string memory what, Values memory v, uint256 value, uint256 before, uint256 max) private {
        _refuses(I.ShareStep.selector, abi.encode(what, value, before, max));
        _setAll(v);
    }

    function test_only_the_governor_sets() public {
        address[2] memory others = [stranger, address(this)];
        for (uint256 i = 0; i < 2; ++i) {
            _refuses(I.NotGovernor.selector, abi.encode(others[i]));
            vm.prank(others[i]);
            params.set(_with(7));
        }
    }

    function test_not_even_the_governor_leaves_the_bounds() public {
        for (uint256 i = 0; i < edges.length; ++i) {
            vm.expectRevert(_outOfBounds(edges[i]));
            _setAll(edges[i].bad);
        }
    }

    function test_a_second_change_in_the_same_epoch_replaces_the_first() public {
        _set(7);
        _set(8);
        eq("the second", params.valuesAt(_epoch() + 2).guidePrice, 8);
        eq("before", params.valuesAt(_epoch() + 1).guidePrice, values().guidePrice);
    }

    /// @dev A claim walks over what is younger than its epoch: that must not grow with what governance changes its mind
    /// about.
    function test_changes_within_an_epoch_make_no_claim_dearer() public {
        uint64 epoch = _epoch();
        _set(1);
        uint256 once = _gasOf(epoch);
        for (uint32 i = 0; i < 50; ++i) _set(i);
        yes("the same", _gasOf(epoch) <= once);
    }

    function _gasOf(uint64 epoch) private view returns (uint256) {
        uint256 before = gasleft();
        params.claimTermsAt(epoch);
        return before - gasleft();
    }

    function test_old_values_stay_for_their_epochs() public {
        uint64 start = _epoch();
        for (uint32 i = 1; i < 6; ++i) {
            _set(i);
            vm.warp(block.timestamp + 1 days);
        }
        for (uint32 i = 1; i < 6; ++i) eq("then", params.valuesAt(start + 1 + i).guidePrice, i);
        eq("first", params.valuesAt(start).guidePrice, values().guidePrice);
    }

    function test_an_epoch_is_a_day_of_the_chains_time() public view {
        eq("first", params.epochAt(0), 0);
        eq("last second", params.epochAt(1 days - 1), 0);
        eq("next", params.epochAt(1 days), 1);
    }
}
