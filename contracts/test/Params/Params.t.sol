// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bounds, ClaimTerms, IParams as I, Values, Windows} from "../../src/interfaces/IParams.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

/// @notice Values one step outside and one on each edge.
abstract contract Edges is World {
    struct Edge {
        string what;
        Values bad;
        Values good;
        uint256 given;
        uint256 min;
        uint256 max;
    }

    Edge[] internal edges;

    function setUp() public override {
        super.setUp();
        Bounds memory b = bounds();
        Values memory bad = values();
        Values memory good = values();
        (bad.protocolPpm, good.protocolPpm) = (b.protocolPpmMax + 1, b.protocolPpmMax);
        _push("protocolPpm", bad, good, b.protocolPpmMax + 1, 0, b.protocolPpmMax);
        (bad.stakersPpm, good.stakersPpm) = (b.stakersPpmMax + 1, b.stakersPpmMax);
        _push("stakersPpm", bad, good, b.stakersPpmMax + 1, 0, b.stakersPpmMax);
        (bad.dataPpm, good.dataPpm) = (b.dataPpmMax + 1, b.dataPpmMax);
        _push("dataPpm", bad, good, b.dataPpmMax + 1, b.dataPpmMin, b.dataPpmMax);
        (bad.dataPpm, good.dataPpm) = (b.dataPpmMin - 1, b.dataPpmMin);
        _push("dataPpm", bad, good, b.dataPpmMin - 1, b.dataPpmMin, b.dataPpmMax);
        (bad.minStake, good.minStake) = (b.minStakeMin - 1, b.minStakeMin);
        _push("minStake", bad, good, b.minStakeMin - 1, b.minStakeMin, b.minStakeMax);
        (bad.minStake, good.minStake) = (b.minStakeMax + 1, b.minStakeMax);
        _push("minStake", bad, good, b.minStakeMax + 1, b.minStakeMin, b.minStakeMax);
        (bad.minDeposit, good.minDeposit) = (b.minDepositMin - 1, b.minDepositMin);
        _push("minDeposit", bad, good, b.minDepositMin - 1, b.minDepositMin, b.minDepositMax);
        (bad.minDeposit, good.minDeposit) = (b.minDepositMax + 1, b.minDepositMax);
        _push("minDeposit", bad, good, b.minDepositMax + 1, b.minDepositMin, b.minDepositMax);
        (bad.adapterBond, good.adapterBond) = (b.adapterBondMax + 1, b.adapterBondMax);
        _push("adapterBond", bad, good, b.adapterBondMax + 1, b.adapterBondMin, b.adapterBondMax);
        (bad.creditTokensMax, good.creditTokensMax) = (0, 1);
        _push("creditTokensMax", bad, good, 0, 1, b.creditTokensMax);
        (bad.creditTokensMax, good.creditTokensMax) = (b.creditTokensMax + 1, b.creditTokensMax);
        _push("creditTokensMax", bad, good, b.creditTokensMax + 1, 1, b.creditTokensMax);
        (bad.draws, good.draws) = (1, 2);
        _push("draws", bad, good, 1, 2, 16);
        (bad.draws, good.draws) = (17, 16);
        _push("draws", bad, good, 17, 2, 16);
        (bad.leastContext, good.leastContext) = (0, 1);
        _push("leastContext", bad, good, 0, 1, b.leastContextMax);
        (bad.leastContext, good.leastContext) = (b.leastContextMax + 1, b.leastContextMax);
        _push("leastContext", bad, good, b.leastContextMax + 1, 1, b.leastContextMax);
        (bad.guidePrice, good.guidePrice) = (b.guidePriceMax + 1, b.guidePriceMax);
        _push("guidePrice", bad, good, b.guidePriceMax + 1, 0, b.guidePriceMax);
    }

    /// @dev `bad` and `good` are used again: whatever the last edge changed goes back.
    function _push(string memory what, Values memory bad, Values memory good, uint256 given, uint256 min, uint256 max)
        private
    {
        edges.push(Edge({what: what, bad: bad, good: good, given: given, min: min, max: max}));
        Values memory sound = values();
        (bad.protocolPpm, bad.stakersPpm, bad.dataPpm) = (sound.protocolPpm, sound.stakersPpm, sound.dataPpm);
        (bad.minStake, bad.minDeposit, bad.adapterBond) = (sound.minStake, sound.minDeposit, sound.adapterBond);
        (bad.creditTokensMax, bad.draws) = (sound.creditTokensMax, sound.draws);
        (bad.leastContext, bad.guidePrice) = (sound.leastContext, sound.guidePrice);
    }

    function _outOfBounds(Edge memory edge) internal pure returns (bytes memory) {
        return abi.encodeWithSelector(I.OutOfBounds.selector, edge.what, edge.given, edge.min, edge.max);
    }
}

contract ParamsConstructorTest is Edges {
    function _deploy(Values memory v, Bounds memory b, Windows memory w) private returns (I) {
        return I(_new("Params", abi.encode(governor, v, b, w)));
    }

    /// @dev deployCode swallows the reason, so the code is called by hand.
    function _isRefused(bytes memory reason, Values memory v, Bounds memory b, Windows memory w) private {
        bytes memory code = abi.encodePacked(vm.getCode("Params.sol:Params"), abi.encode(governor, v, b, w));
        bytes memory got;
        assembly ("memory-safe") {
            if create(0, add(code, 0x20), mload(code)) { revert(0, 0) }
            got := mload(0x40)
            mstore(got, returndatasize())
            returndatacopy(add(got, 0x20), 0, returndatasize())
            mstore(0x40, add(got, add(0x40, returndatasize())))
        }
        eq("reason", keccak256(got), keccak256(reason));
    }

    function _isOut(string memory what, uint256 value, uint256 min, uint256 max, Bounds memory b, Windows memory w)
        private
    {
        _isRefused(abi.encodeWithSelector(I.OutOfBounds.selector, what, value, min, max), values(), b, w);
    }

    function test_what_it_was_given_can_be_read() public view {
        eq("governor", params.governor(), governor);
        eq("bounds", keccak256(abi.encode(params.bounds())), keccak256(abi.encode(bounds())));
        eq("windows", keccak256(abi.encode(params.windows())), keccak256(abi.encode(windows())));
        eq("values", keccak256(abi.encode(params.valuesAt(0))), keccak256(abi.encode(values())));
        ClaimTerms memory terms = params.claimTermsAt(0);
        eq("protocol", terms.protocolPpm, values().protocolPpm);
        eq("stakers", terms.stakersPpm, values().stakersPpm);
        eq("data", terms.dataPpm, values().dataPpm);
        eq("stake", terms.minStake, values().minStake);
        eq("draws", params.drawsAt(0), values().draws);
    }

    function test_initial_values_are_within_bounds() public {
        for (uint256 i = 0; i < edges.length; ++i) {
            _isRefused(_outOfBounds(edges[i]), edges[i].bad, bounds(), windows());
            _deploy(edges[i].good, bounds(), windows());
        }
    }

    /// @dev F: shares that can sum to all leave a node nothing to lose, and governance everything to take.
    function test_the_largest_shares_together_leave_the_node_something() public {
        Bounds memory b = bounds();
        b.royaltyPpmMax = 500_000;
        _isOut("sum of the shares' maxima", 1_000_000, 0, 999_999, b, windows());
    }

    /// @dev F: a fee that the node's share does not cover would be free from some draw on.
    function test_the_nodes_smallest_share_covers_the_fee_of_a_draw() public {
        Bounds memory b = bounds();
        b.royaltyPpmMax = 350_001;
        _isRefused(abi.encodeWithSelector(I.LapseFeeNotCovered.selector, 149_999, 150_000), values(), b, windows());
        b.royaltyPpmMax = 350_000;
        _deploy(values(), b, windows());
    }

    function test_bounds_are_in_order() public {
        Bounds memory b = bounds();
        b.minStakeMin = 0;
        _isOut("minStakeMin", 0, 1, b.minStakeMax, b, windows());
        b = bounds();
        b.minStakeMin = b.minStakeMax + 1;
        _isOut("minStakeMin", b.minStakeMin, 1, b.minStakeMax, b, windows());
        b = bounds();
        b.minDepositMin = 0;
        _isOut("minDepositMin", 0, 1, b.minDepositMax, b, windows());
        b = bounds();
        b.minDepositMin = b.minDepositMax + 1;
        _isOut("minDepositMin", b.minDepositMin, 1, b.minDepositMax, b, windows());
        b = bounds();
        b.dataPpmMin = 0;
        _isOut("dataPpmMin", 0, 1, b.dataPpmMax, b, windows());
        b.dataPpmMin = b.dataPpmMax + 1;
        _isOut("dataPpmMin", b.dataPpmMin, 1, b.dataPpmMax, b, windows());
        b = bounds();
        b.adapterBondMin = b.adapterBondMax + 1;
        _isOut("adapterBondMin", b.adapterBondMin, 0, b.adapterBondMax, b, windows());
    }

    /// @dev F: a time that cannot be added to another in 64 bits keeps a deposit or a stake for ever, and one shorter
    /// than its part of an epoch leaves nobody the time to act.
    function test_windows_are_neither_too_short_nor_too_long() public {
        uint256 most = 3650 days;
        string[10] memory names = [
            "propose",
            "window",
            "contest",
            "pauseMax",
            "unbonding",
            "withdrawDelayMax",
            "withdrawDelayMin",
            "withdrawPeriod",
            "judge",
            "pauseGap"
        ];
        uint64[10] memory least =
            [uint64(1 days), 1 hours, 1 days, 1 hours, 1 days, 8 hours, 8 hours, 1 days, 1 days, 14 days];
        for (uint256 i = 0; i < names.length; ++i) {
            uint256 max = i == 6 ? windows().withdrawDelayMax : most;
            _isOut(names[i], least[i] - 1, least[i], max, bounds(), _windowsWith(i, least[i] - 1));
            _isOut(names[i], max + 1, least[i], max, bounds(), _windowsWith(i, uint64(max + 1)));
        }
        Windows memory w = windows();
        w.epoch = 23;
        _isOut("epoch", 23, 24, most, bounds(), w);
        w.epoch = uint64(most + 1);
        _isOut("epoch", most + 1, 24, most, bounds(), w);
    }

    /// @dev F: the hash of a block can be read for 256 blocks. After that, nobody could show what it has drawn.
    function test_a_draw_stands_no_longer_than_its_hash_can_be_read() public {
        Windows memory w = windows();
        w.redrawBlocks = 257;
        _isOut("redrawBlocks", 257, 16, 256, bounds(), w);
        w.redrawBlocks = 15;
        _isOut("redrawBlocks", 15, 16, 256, bounds(), w);
        w.redrawBlocks = 16;
        _deploy(values(), bounds(), w);
    }

    function test_a_development_chain_may_have_short_times() public {
        Windows memory w = Windows({
            epoch: 30,
            propose: 60,
            window: 10,
            redrawBlocks: 16,
            contest: 30,
            judge: 60,
            pauseMax: 30,
            pauseGap: 60,
            unbonding: 120,
            withdrawDelayMin: 40,
            withdrawDelayMax: 40,
            withdrawPeriod: 60
        });
        _deploy(values(), bounds(), w);
    }

    function _windowsWith(uint256 i, uint64 value) private pure returns (Windows memory w) {
        w = windows();
        if (i == 0) w.propose = value;
        if (i == 1) w.window = value;
        if (i == 2) w.contest = value;
        if (i == 3) w.pauseMax = value;
        if (i == 4) w.unbonding = value;
        if (i == 5) w.withdrawDelayMax = value;
        if (i == 6) w.withdrawDelayMin = value;
        if (i == 7) w.withdrawPeriod = value;
        if (i == 8) w.judge = value;
        if (i == 9) w.pauseGap = value;
    }

    function test_governance_chooses_an_algorithm_that_is_defined() public {
        Values memory v = values();
        uint32[5] memory unknown = [uint32(0), 2, 8, 256, type(uint32).max];
        for (uint256 i = 0; i < unknown.length; ++i) {
            v.algoId = unknown[i];
            _isRefused(abi.encodeWithSelector(I.UnknownAlgorithm.selector, unknown[i]), v, bounds(), windows());
        }
        uint32[4] memory known = [uint32(1), 4, 5, 7];
        for (uint256 i = 0; i < known.length; ++i) {
            v.algoId = known[i];
            _deploy(v, bounds(), windows());
        }
    }

    /// @dev F: a node whose stake is free before a dispute is judged cannot be punished.
    function test_unbonding_outlasts_all_that_can_be_disputed() public {
        Windows memory w = windows();
        w.unbonding = 16 days - 1;
        _isRefused(abi.encodeWithSelector(I.UnbondingTooShort.selector, 16 days - 1, 16 days), values(), bounds(), w);
        w.unbonding = 16 days;
        _deploy(values(), bounds(), w);
    }
}

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
            stakersPpm: 40_000,
            dataPpm: 250_000,
            minStake: 11,
            minDeposit: 12,
            adapterBond: 13,
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
        eq("stakers", terms.stakersPpm, 40_000);
        eq("data", terms.dataPpm, 250_000);
        eq("stake", terms.minStake, 11);
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
        (v.protocolPpm, v.stakersPpm) = (62_501, 50_000);
        _refusesStep("protocolPpm", v, 62_501, 50_000, 12_500);
        (v.protocolPpm, v.stakersPpm) = (62_500, 37_499);
        _refusesStep("stakersPpm", v, 37_499, 50_000, 12_500);
        v.stakersPpm = 37_500;
        _setAll(v);
    }

    function test_a_small_share_moves_by_10_000_ppm() public {
        Values memory v = values();
        (v.protocolPpm, v.stakersPpm) = (0, 39_999);
        params = I(_new("Params", abi.encode(governor, v, bounds(), windows())));
        v.protocolPpm = 10_001;
        _refusesStep("protocolPpm", v, 10_001, 0, 10_000);
        (v.protocolPpm, v.stakersPpm) = (10_000, 29_998);
        _refusesStep("stakersPpm", v, 29_998, 39_999, 10_000);
        v.stakersPpm = 29_999;
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
