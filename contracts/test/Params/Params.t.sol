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
        _push("dataPpm", bad, good, b.dataPpmMax + 1, 0, b.dataPpmMax);
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
    }

    /// @dev `bad` and `good` are used again: whatever the last edge changed goes back.
    function _push(string memory what, Values memory bad, Values memory good, uint256 given, uint256 min, uint256 max)
        private
    {
        edges.push(Edge({what: what, bad: bad, good: good, given: given, min: min, max: max}));
        Values memory sound = values();
        (bad.protocolPpm, bad.stakersPpm, bad.dataPpm) = (sound.protocolPpm, sound.stakersPpm, sound.dataPpm);
        (bad.minStake, bad.minDeposit, bad.adapterBond) = (sound.minStake, sound.minDeposit, sound.adapterBond);
        bad.creditTokensMax = sound.creditTokensMax;
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
        b.royaltyPpmMax = 400_000;
        _isOut("sum of the shares' maxima", 1_000_000, 0, 999_999, b, windows());
        b.royaltyPpmMax = 399_999;
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
        b.adapterBondMin = b.adapterBondMax + 1;
        _isOut("adapterBondMin", b.adapterBondMin, 0, b.adapterBondMax, b, windows());
    }

    /// @dev F: a time that cannot be added to another in 64 bits keeps a deposit or a stake for ever, and one shorter than
    /// its part of an epoch leaves nobody the time to act.
    function test_windows_are_neither_too_short_nor_too_long() public {
        uint256 most = 3650 days;
        string[8] memory names = [
            "propose",
            "window",
            "response",
            "pauseMax",
            "unbonding",
            "withdrawDelayMax",
            "withdrawDelayMin",
            "withdrawPeriod"
        ];
        uint64[8] memory least = [uint64(1 days), 1 hours, 1 hours, 1 hours, 1 days, 8 hours, 8 hours, 1 days];
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

    function _windowsWith(uint256 i, uint64 value) private pure returns (Windows memory w) {
        w = windows();
        if (i == 0) w.propose = value;
        if (i == 1) w.window = value;
        if (i == 2) w.response = value;
        if (i == 3) w.pauseMax = value;
        if (i == 4) w.unbonding = value;
        if (i == 5) w.withdrawDelayMax = value;
        if (i == 6) w.withdrawDelayMin = value;
        if (i == 7) w.withdrawPeriod = value;
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

    /// @dev F: a node whose stake is free before its claims are final cannot be punished for them.
    function test_unbonding_outlasts_all_that_can_be_disputed() public {
        Windows memory w = windows();
        w.unbonding = 14 days - 1;
        _isRefused(abi.encodeWithSelector(I.UnbondingTooShort.selector, 14 days - 1, 14 days), values(), bounds(), w);
        w.unbonding = 14 days;
        _deploy(values(), bounds(), w);
    }
}

contract ParamsSetTest is Edges {
    function _with(uint32 protocolPpm) private pure returns (Values memory v) {
        v = values();
        v.protocolPpm = protocolPpm;
    }

    function _set(uint32 protocolPpm) private {
        vm.prank(governor);
        params.set(_with(protocolPpm));
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
        eq("before", params.valuesAt(epoch + 1).protocolPpm, 50_000);
        eq("from then on", params.valuesAt(epoch + 2).protocolPpm, 7);
        eq("for ever", params.valuesAt(type(uint64).max).protocolPpm, 7);
        eq("terms before", params.claimTermsAt(epoch + 1).protocolPpm, 50_000);
        eq("terms from then on", params.claimTermsAt(epoch + 2).protocolPpm, 7);
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
            vm.prank(governor);
            params.set(edges[i].bad);
            vm.prank(governor);
            params.set(edges[i].good);
        }
    }

    function test_a_second_change_in_the_same_epoch_replaces_the_first() public {
        _set(7);
        _set(8);
        eq("the second", params.valuesAt(_epoch() + 2).protocolPpm, 8);
        eq("before", params.valuesAt(_epoch() + 1).protocolPpm, 50_000);
    }

    /// @dev A claim walks over what is younger than its epoch: that must not grow with what governance changes its mind about.
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
        for (uint32 i = 1; i < 6; ++i) eq("then", params.valuesAt(start + 1 + i).protocolPpm, i);
        eq("first", params.valuesAt(start).protocolPpm, 50_000);
    }

    function test_an_epoch_is_a_day_of_the_chains_time() public view {
        eq("first", params.epochAt(0), 0);
        eq("last second", params.epochAt(1 days - 1), 0);
        eq("next", params.epochAt(1 days), 1);
    }
}
